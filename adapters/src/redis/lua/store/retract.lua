-- Erases a notification.
--
-- ARGV[2]  the notification
-- ARGV[3]  how many marks are cleared away at once
-- Result   {'ok', epoch, now, what, first place, channels}: what is 'unknown', 'cancelled' or 'retracted'; the channels, separated
--          by spaces, were told in this order from that place on
--
-- Atomic, because nobody may find it after its `retracted`, nor miss that.
local id, marks_at_once = ARGV[2], tonumber(ARGV[3])
local note = prefix .. 'n:' .. id

local found = redis.call('HMGET', note, 'channels', 'first', 'logged', 'bytes', 'gone')
if not found[1] or found[5] then
  return {'ok', epoch, now, 'unknown', 0, ''}
end
if not found[2] then
  redis.call('ZREM', DUE, id)
  redis.call('DEL', note)
  scheduled = scheduled - found[4]
  keep_books()
  return {'ok', epoch, now, 'cancelled', 0, ''}
end
hide(id)
if found[3] ~= '0' then
  bytes = bytes - found[4]
end
-- The log refers to it no more: where its content is missing, an event is erased.
redis.call('HSET', note, 'logged', 0, 'bytes', 0, 'gone', 1)
redis.call('HDEL', note, 'payload')
local channels = found[1]
local _, cleared = leave(id, marks_at_once + #split(channels))
if cleared then
  redis.call('DEL', note)
end
local first = head + 1
for _, channel in ipairs(split(channels)) do
  append_on(channel, 'kind', 'r', 'id', id)
end
keep_books()
return {'ok', epoch, now, 'retracted', first, channels}
