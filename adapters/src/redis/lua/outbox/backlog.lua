-- Says what waits.
--
-- Result   {open, since when the oldest of them is due or nil, dead}
--
-- One script for one moment. Costs the same however much waits.
return {redis.call('ZCARD', OPEN), redis.call('ZRANGE', OPEN, 0, 0, 'WITHSCORES')[2] or false, redis.call('ZCARD', DEAD)}
