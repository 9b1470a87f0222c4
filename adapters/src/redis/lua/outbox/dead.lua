-- Lists dead deliveries by position.
--
-- ARGV[2]  where the list begins: "(" and the position after which it does, or "-inf"
-- ARGV[3]  how many at the most
-- Result   {now, rows}; see rows.lua
--
-- One script for one moment.
local from, limit = ARGV[2], ARGV[3]

return {now, rows(redis.call('ZRANGE', DEAD, from, '+inf', 'BYSCORE', 'LIMIT', 0, limit))}
