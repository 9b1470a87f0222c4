-- Writes what a person did with one notification, and tells their devices.
--
-- ARGV[2]  the person
-- ARGV[3]  the version of the person that it was decided from
-- ARGV[4]  the epoch, likewise
-- ARGV[5]  the notification
-- ARGV[6]  the channel that it is on
-- ARGV[7]  the mark that it had, empty for none
-- ARGV[8]  the mark that it has now: "read archived acknowledged unarchived", each a moment or "-"
-- ARGV[9]  1 where it counts as unread, else 0
-- ARGV[10] what to tell
-- ARGV[11…] the person's channels, each once
-- Result   {'ok', epoch, now, place, unread}; {'again', standing} when it was decided from something else than what is there
--
-- Atomic, because the count that is told is exact at the place of the event that tells it.
local version, of, id, channel, before, after, unread = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]

local position = redis.call('ZSCORE', prefix .. 'i:' .. channel, id)
if known[1] ~= version or epoch ~= of or not position or (redis.call('HGET', MARKS, id) or '') ~= before then
  return {'again', standing()}
end
redis.call('HSET', MARKS, id, after)
redis.call('HINCRBY', prefix .. 'p:' .. user, 'version', 1)
redis.call('ZADD', prefix .. 'mk:' .. user .. ':' .. channel, position, id)
if unread == '1' then
  redis.call('ZADD', prefix .. 'mu:' .. user .. ':' .. channel, position, id)
else
  redis.call('ZREM', prefix .. 'mu:' .. user .. ':' .. channel, id)
end
if channel ~= OWN then
  redis.call('SADD', prefix .. 'w:' .. id, user .. ' ' .. channel)
end
local count = unread_on(arguments_from(11))
local place = append_on(OWN, 'kind', 'm', 'detail', ARGV[10], 'unread', count)
keep_books()
return {'ok', epoch, now, place, count}
