-- Publishes what is due, oldest first.
--
-- ARGV[2]  at most this many notifications
-- ARGV[3]  at most this many events, but for one notification
-- Result   {'ok', epoch, now, published, expired, next}: for each published {id, payload, first place, channels}; how many had
--          expired before their moment; when the next is due, or nil
--
-- Atomic, because of two nodes that look at once each publishes something else.
local limit, events_max = tonumber(ARGV[2]), tonumber(ARGV[3])

local published, expired, events = {}, 0, 0
for _, id in ipairs(redis.call('ZRANGE', DUE, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, limit)) do
  local note = prefix .. 'n:' .. id
  local found = redis.call('HMGET', note, 'payload', 'channels', 'expires', 'bytes')
  local channels = split(found[2])
  if events > 0 and events + #channels > events_max then
    break
  end
  redis.call('ZREM', DUE, id)
  scheduled = scheduled - found[4]
  if found[3] ~= '' and tonumber(found[3]) <= now then
    redis.call('DEL', note)
    expired = expired + 1
  else
    redis.call('HSET', note, 'published', text(now))
    published[#published + 1] = {id, found[1], publish(id, channels, found[3]), found[2]}
    events = events + #channels
  end
end
if #published > 0 or expired > 0 then
  keep_books()
end
return {'ok', epoch, now, published, expired, redis.call('ZRANGE', DUE, 0, 0, 'WITHSCORES')[2] or false}
