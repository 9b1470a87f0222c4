-- Writes a document if it is still at the expected version.
--
-- KEYS[1]  the document: a hash of version and text
-- ARGV[1]  the expected version; 0 when it does not exist
-- ARGV[2]  its text
-- Result   1 and the new version, or 0 and the present one
--
-- Atomic, because of two writers at one version exactly one succeeds.
local document, expected, text = KEYS[1], ARGV[1], ARGV[2]

local current = redis.call('HGET', document, 'version') or '0'
if current ~= expected then
  return {0, tonumber(current)}
end
redis.call('HSET', document, 'text', text)
return {1, redis.call('HINCRBY', document, 'version', 1)}
