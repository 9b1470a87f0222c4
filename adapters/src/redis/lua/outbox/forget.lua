-- Forgets ended deliveries of events before a position, oldest first.
--
-- ARGV[2]  the position
-- ARGV[3]  how many at the most
-- Result   how many were forgotten
--
-- Atomic, because a hand may revive a dead one meanwhile, which must stay then.
local before, limit = ARGV[2], ARGV[3]

local ended = redis.call('ZRANGE', ENDED, '-inf', '(' .. before, 'BYSCORE', 'LIMIT', 0, limit)
for _, position in ipairs(ended) do
  redis.call('DEL', prefix .. 'd:' .. position)
  redis.call('ZREM', ENDED, position)
  redis.call('ZREM', DEAD, position)
end
return #ended
