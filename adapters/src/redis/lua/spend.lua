-- Uses a ticket, and says what it had been through.
--
-- KEYS[1]  the ticket: a hash that expires
-- ARGV[1]  how long the mark is kept at least, in milliseconds
-- Result   0 first use, 1 used before, 2 ended
--
-- Atomic, because of all who use a ticket at once exactly one is the first.
local ticket, keep = KEYS[1], tonumber(ARGV[1])

local known = redis.call('HMGET', ticket, 'spent', 'ended')
local left = redis.call('PTTL', ticket)
redis.call('HSET', ticket, 'spent', '1')
redis.call('PEXPIRE', ticket, math.max(keep, left, 1))
if known[2] then
  return 2
end
return known[1] and 1 or 0
