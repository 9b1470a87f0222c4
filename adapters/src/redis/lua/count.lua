-- Counts the streams of nodes that hold a lease.
--
-- KEYS[1]  all nodes
-- ARGV[1]  what keys begin with
-- Result   the count
--
-- One script, so that no node dies between the look at its lease and the look at its streams. There are few nodes.
local nodes, prefix = KEYS[1], ARGV[1]

local count = 0
for _, node in ipairs(redis.call('SMEMBERS', nodes)) do
  if redis.call('EXISTS', prefix .. 'lease:' .. node) == 1 then
    count = count + redis.call('ZCARD', prefix .. 'node:' .. node)
  end
end
return count
