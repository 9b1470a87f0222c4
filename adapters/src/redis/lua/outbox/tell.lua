-- Adds what a node saw of its publishes, once under each number, and forgets what is old.
--
-- ARGV[2]  the node, the number and the counts
-- ARGV[3]  for how long it is kept, in milliseconds
-- Result   nothing
--
-- Atomic, so that what is told again, because its answer was lost, keeps its moment and counts once.
local told, kept = ARGV[2], tonumber(ARGV[3])

redis.call('ZREMRANGEBYSCORE', TALLY, '-inf', text(now - kept))
redis.call('ZADD', TALLY, 'NX', text(now), told)
return false
