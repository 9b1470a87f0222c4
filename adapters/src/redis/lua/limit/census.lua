-- Counts the nodes that share the limits, the asking one among them.
--
-- KEYS[1]  the nodes: a sorted set by when each was last heard of
-- ARGV[1]  the asking node
-- ARGV[2]  how long a node that is not heard of counts, in milliseconds
-- Result   the count
--
-- One script for one moment of Redis' own clock.
local nodes, node, kept = KEYS[1], ARGV[1], tonumber(ARGV[2])

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', nodes, now, node)
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', now - kept)
redis.call('PEXPIRE', nodes, kept)
return redis.call('ZCARD', nodes)
