-- Reads what nodes told of their publishes lately.
--
-- ARGV[2]  how far back, in milliseconds
-- Result   what each told: the node, the number and the counts
--
-- One script for one moment.
return redis.call('ZRANGE', TALLY, '(' .. text(now - tonumber(ARGV[2])), '+inf', 'BYSCORE')
