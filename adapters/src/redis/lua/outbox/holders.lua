-- Finds those of some people who hold a token that counts.
--
-- ARGV[2…] the people, each once
-- Result   user, until and record of each
--
-- One script, so that one moment decides whose token has ended.
local found = {}
for at = 2, #ARGV do
  local known = redis.call('HMGET', prefix .. 'h:' .. ARGV[at], 'until', 'record')
  if known[1] and tonumber(known[1]) > now then
    found[#found + 1] = {ARGV[at], known[1], known[2]}
  end
end
return found
