-- Lets a ticket's session go on as a person.
--
-- KEYS[1]  the ticket
-- ARGV[1]  the person, as a record
-- ARGV[2]  when the person's token expires, in milliseconds since 1970
-- ARGV[3]  how long anything is kept at most, in milliseconds
-- Result   nothing
--
-- Atomic, so that a shorter time never cuts a longer one; by Redis' own clock, which all nodes share.
local ticket, person, expires, longest = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local time = redis.call('TIME')
local keep = expires - (time[1] * 1000 + math.floor(time[2] / 1000))
local left = redis.call('PTTL', ticket)
redis.call('HSET', ticket, 'renewed', person)
redis.call('PEXPIRE', ticket, math.max(math.min(keep, longest), left, 1))
return false
