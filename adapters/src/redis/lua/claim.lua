-- Takes a node's lease, or keeps it.
--
-- KEYS[1]  the lease: a key that expires
-- KEYS[2]  all nodes that have, or had, entries: a set
-- ARGV[1]  the node
-- ARGV[2]  how long it holds, in milliseconds
-- Result   1 when it was held all the time, 0 when it is held from now on
--
-- Atomic, because between the look and the write it could expire, and others could clear the node's entries away.
local lease, nodes = KEYS[1], KEYS[2]
local node, millis = ARGV[1], ARGV[2]

local kept = redis.call('EXISTS', lease)
redis.call('SET', lease, '1', 'PX', millis)
redis.call('SADD', nodes, node)
return kept
