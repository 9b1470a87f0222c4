-- Says where the trail begins and ends.
--
-- KEYS[1]  where each chain ends
-- KEYS[2]  where each chain stood when its last record was forgotten
-- KEYS[3]  the trail: a hash of head and forgotten
-- Result   head, forgotten, the ends and the beginnings, each as a chain and "sequence:hash" in turn
--
-- Atomic, because an end belongs to its head.
local ends, begins, trail = KEYS[1], KEYS[2], KEYS[3]

local head = redis.call('HGET', trail, 'head') or '0'
local forgotten = redis.call('HGET', trail, 'forgotten') or '0'
return {head, forgotten, redis.call('HGETALL', ends), redis.call('HGETALL', begins)}
