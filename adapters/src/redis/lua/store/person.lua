-- One person, as they stand, and how many notifications are unread for them.
--
-- ARGV[2]  the person
--
-- Result   {'stale'} when something has expired that the inbox still holds: whoever asked has it swept first
--          {'who'} when the person is not known: whoever asked has them met first
if redis.call('ZCOUNT', EXPIRIES, '-inf', text(now)) > 0 then
  return {'stale'}
end
local user = ARGV[2]
local OWN = 'private:user:' .. user .. ':notifications'
local MARKS = prefix .. 'm:' .. user
local known = redis.call('HMGET', prefix .. 'p:' .. user, 'version', 'first_seen', 'first_seen_at', 'reads', 'through')
if not known[1] then
  return {'who'}
end
local first_seen, through = tonumber(known[2]), tonumber(known[5])

-- The person for whoever decides what follows, and the moment and the place at which they stand so.
local function standing()
  return {known[1], known[2], known[3], known[4], now, epoch, head}
end

-- Counts what is unread on these channels: what lies behind the last place that counts as read there, but for what has
-- a mark of its own, which says so itself. Costs the same however much the inbox holds.
local function unread_on(channels)
  local unread = 0
  for _, channel in ipairs(channels) do
    local line = through
    if channel ~= OWN and first_seen > line then
      line = first_seen
    end
    local after = '(' .. text(line)
    local marks = user .. ':' .. channel
    unread = unread + redis.call('ZCOUNT', prefix .. 'i:' .. channel, after, '+inf')
      - redis.call('ZCOUNT', prefix .. 'mk:' .. marks, after, '+inf') + redis.call('ZCARD', prefix .. 'mu:' .. marks)
  end
  return unread
end

local function arguments_from(first)
  local rest = {}
  for at = first, #ARGV do
    rest[#rest + 1] = ARGV[at]
  end
  return rest
end
