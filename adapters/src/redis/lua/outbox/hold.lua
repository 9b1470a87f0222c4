-- Remembers who holds a token, until it ends.
--
-- ARGV[2]  who
-- ARGV[3]  when it ends, in milliseconds since 1970
-- ARGV[4]  the units and roles, as a record
-- Result   nothing
--
-- Atomic, so that an earlier end never replaces a later one.
local holder, ends, record = prefix .. 'h:' .. ARGV[2], tonumber(ARGV[3]), ARGV[4]

local known = tonumber(redis.call('HGET', holder, 'until') or ends)
if ends <= now or ends < known then
  return false
end
redis.call('HSET', holder, 'until', ARGV[3], 'record', record)
redis.call('PEXPIRE', holder, text(ends - now))
return false
