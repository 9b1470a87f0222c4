-- Reads one notification of a person's inbox, and how they stand.
--
-- ARGV[2]  the person
-- ARGV[3]  the notification
-- ARGV[4…] their channels, each once
-- Result   {'ok', standing, unread, item}; no item when it is not theirs. It is {place, channel, payload, published, mark}
--
-- Atomic, because item, mark and standing decide together what is shown.
local id = ARGV[3]
local channels = arguments_from(4)

local item = false
for _, channel in ipairs(channels) do
  local position = redis.call('ZSCORE', prefix .. 'i:' .. channel, id)
  if position then
    local note = redis.call('HMGET', prefix .. 'n:' .. id, 'payload', 'published')
    item = {tonumber(position), channel, note[1], note[2], redis.call('HGET', MARKS, id)}
    break
  end
end
return {'ok', standing(), unread_on(channels), item}
