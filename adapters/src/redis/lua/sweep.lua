-- Takes out a part of what nodes without a lease left.
--
-- KEYS[1]  all nodes
-- ARGV[1]  what keys begin with
-- ARGV[2]  how many streams at the most
-- Result   1 when something may be left, else 0
--
-- Atomic, because a node may take its lease again: what it enters from then on must stay. A node that does enters all
-- of its streams again.
local nodes, prefix, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])

for _, node in ipairs(redis.call('SMEMBERS', nodes)) do
  if redis.call('EXISTS', prefix .. 'lease:' .. node) == 0 then
    local streams = redis.call('ZRANGE', prefix .. 'node:' .. node, 0, limit - 1)
    for _, stream in ipairs(streams) do
      local serial, user = string.match(stream, '^(%x+) %-?%d+ (.*)$')
      redis.call('ZREM', prefix .. 'user:' .. user, node .. '-' .. serial)
    end
    if #streams == limit then
      redis.call('ZREMRANGEBYRANK', prefix .. 'node:' .. node, 0, limit - 1)
      return 1
    end
    redis.call('DEL', prefix .. 'node:' .. node)
    redis.call('SREM', nodes, node)
    limit = limit - #streams
  end
end
return 0
