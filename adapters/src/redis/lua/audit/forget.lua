-- Forgets the first records.
--
-- KEYS[1]  the records: a sorted set by place
-- KEYS[2]  where each chain stood when its last record was forgotten
-- KEYS[3]  the trail: a hash of head and forgotten
-- ARGV[1]  up to where it has been forgotten by now
-- ARGV[2]  the last place that goes
-- ARGV[3…] two for each chain that loses records: the chain and "sequence:hash" of the last one
-- Result   how many went; 0 where others have forgotten meanwhile
--
-- Atomic, because what is forgotten and where the chains stood then belong together.
local records, begins, trail = KEYS[1], KEYS[2], KEYS[3]
local known, last = ARGV[1], ARGV[2]

if (redis.call('HGET', trail, 'forgotten') or '0') ~= known then
  return 0
end
for at = 3, #ARGV, 2 do
  redis.call('HSET', begins, ARGV[at], ARGV[at + 1])
end
redis.call('HSET', trail, 'forgotten', last)
return redis.call('ZREMRANGEBYSCORE', records, '-inf', last)
