-- Reads the events of some channels after a place and up to another, for people.
--
-- ARGV[2]  the epoch that the place belongs to
-- ARGV[3]  the place
-- ARGV[4]  the last place
-- ARGV[5]  at most this many
-- ARGV[6]  how many of one channel are looked at
-- ARGV[7…] the channels, each once
-- Result   {'ok', epoch, head, oldest, entries, contents, more}: more is 1 where events may follow the last entry, else 0;
--          {'stale'} when something has expired that is still listed
--
-- Atomic, because the page and the end that it is held against are of one moment.
local of, after, up_to, limit, each = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])

if redis.call('ZCOUNT', EXPIRIES, '-inf', text(now)) > 0 then
  return {'stale'}
end
if of ~= epoch or after + 1 < oldest or after >= head then
  return {'ok', epoch, head, oldest, {}, {}, 0}
end

-- A channel that gave as many as were looked at may have more behind them: up to the first such end all is known.
local places, known_to = {}, math.huge
for at = 7, #ARGV do
  local found = redis.call('ZRANGE', prefix .. 'h:' .. ARGV[at], '(' .. text(after), up_to, 'BYSCORE', 'LIMIT', 0, each)
  for _, place in ipairs(found) do
    places[#places + 1] = tonumber(place)
  end
  if #found == each then
    known_to = math.min(known_to, tonumber(found[each]))
  end
end
table.sort(places)

local entries, more = {}, known_to < math.huge
for _, place in ipairs(places) do
  if place > known_to or #entries == limit then
    more = true
    break
  end
  local id = text(place) .. '-0'
  local found = redis.call('XRANGE', LOG, id, id)
  entries[#entries + 1] = found[1]
end
local shown, contents = with_content(entries)
more = more or #shown < #entries
return {'ok', epoch, head, oldest, shown, contents, more and 1 or 0}
