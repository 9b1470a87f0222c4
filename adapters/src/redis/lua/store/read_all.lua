-- Writes that a person has read everything on their channels up to a place, and tells their devices.
--
-- ARGV[2]  the person
-- ARGV[3]  the version of the person that it was decided from; empty to learn it
-- ARGV[4]  the epoch, likewise
-- ARGV[5]  the place
-- ARGV[6]  the moment at which it was decided
-- ARGV[7]  each "read all" from now on, as the store writes them; empty where they stay as they are
-- ARGV[8]  the last place of them
-- ARGV[9]  what to tell
-- ARGV[10…] the person's channels, each once
-- Result   {'ok', epoch, now, place, unread, head}, the place 0 when nothing changed; {'again', standing} when it was decided from
--          something else than what is there
--
-- Atomic, because the count that is told is exact at the place of the event that tells it. What was marked by itself is
-- walked: that is bounded by what the person did within the inbox's age.
local version, of, up_to, moment, reads = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]

if known[1] ~= version or epoch ~= of then
  return {'again', standing()}
end
local changed = reads ~= ''
if changed then
  redis.call('HSET', prefix .. 'p:' .. user, 'reads', reads, 'through', ARGV[8])
  through = tonumber(ARGV[8])
end
local channels = arguments_from(10)
for _, channel in ipairs(channels) do
  local marks = user .. ':' .. channel
  for _, id in ipairs(redis.call('ZRANGE', prefix .. 'mk:' .. marks, 0, up_to, 'BYSCORE')) do
    local rest = string.match(redis.call('HGET', MARKS, id) or '', '^%-( .*)$')
    if rest then
      redis.call('HSET', MARKS, id, moment .. rest)
      redis.call('ZREM', prefix .. 'mu:' .. marks, id)
      changed = true
    end
  end
end
local count = unread_on(channels)
if not changed then
  return {'ok', epoch, now, 0, count, head}
end
redis.call('HINCRBY', prefix .. 'p:' .. user, 'version', 1)
local place = append_on(OWN, 'kind', 'm', 'detail', ARGV[9], 'unread', count)
keep_books()
return {'ok', epoch, now, place, count, head}
