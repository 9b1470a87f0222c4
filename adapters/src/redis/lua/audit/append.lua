-- Appends records of one chain.
--
-- KEYS[1]  the records: a sorted set by place, of "place|record"
-- KEYS[2]  where each chain ends: a hash of "sequence:hash"
-- KEYS[3]  the trail: a hash of head and forgotten
-- ARGV[1]  the chain
-- ARGV[2]  where it has to stand, "sequence:hash"; empty where it has to be new
-- ARGV[3]  where it stands afterwards
-- ARGV[4…] the records
-- Result   1; 0 where the chain stands elsewhere
--
-- Atomic, because places follow without a gap and a chain's end belongs to its records.
local records, ends, trail = KEYS[1], KEYS[2], KEYS[3]
local chain, after, to = ARGV[1], ARGV[2], ARGV[3]

local stands = redis.call('HGET', ends, chain) or ''
if stands == to then
  return 1
end
if stands ~= after then
  return 0
end
local head = tonumber(redis.call('HGET', trail, 'head') or '0')
for at = 4, #ARGV do
  head = head + 1
  redis.call('ZADD', records, head, string.format('%d', head) .. '|' .. ARGV[at])
end
redis.call('HSET', trail, 'head', string.format('%d', head))
redis.call('HSET', ends, chain, to)
return 1
