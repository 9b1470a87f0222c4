-- Marks a ticket's stream as closed for good.
--
-- KEYS[1]  the ticket
-- ARGV[1]  how long the mark is kept at least, in milliseconds
-- Result   nothing
--
-- Atomic, so that a shorter time never cuts a longer one.
local ticket, keep = KEYS[1], tonumber(ARGV[1])

local left = redis.call('PTTL', ticket)
redis.call('HSET', ticket, 'ended', '1')
redis.call('PEXPIRE', ticket, math.max(keep, left, 1))
return false
