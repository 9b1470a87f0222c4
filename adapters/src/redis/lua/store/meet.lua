-- Remembers a person from here on, unless they are known.
--
-- ARGV[2]  the person
-- Result   {'ok'}
--
-- Atomic, because the first request is one moment and one place.
local person = prefix .. 'p:' .. ARGV[2]
if redis.call('EXISTS', person) == 0 then
  redis.call('HSET', person, 'version', 1, 'first_seen', text(head), 'first_seen_at', text(now), 'reads', '', 'through', 0)
end
return {'ok'}
