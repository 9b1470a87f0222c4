-- Reads a part of a person's inbox, newest first.
--
-- ARGV[2]  the person
-- ARGV[3]  the version of the person that the stretches were made from; empty to learn it
-- ARGV[4]  only places up to this one
-- ARGV[5]  at most this many
-- ARGV[6]  how many of one list are looked at
-- ARGV[7]  of this type alone, or empty
-- ARGV[8]  of this priority alone, or empty
-- ARGV[9…] three for each channel, each once: the channel, and the stretch, without its first place, whose items without a
--          mark are asked for
-- Result   {'ok', epoch, head, goes_on, items}: goes_on is the place from which the next part goes on, 0 where there is none.
--          Each item is {place, channel, payload, published, mark}: all of the stretches that have no mark, and all that have
--          one, whatever it says. {'again', standing} when the person is not at that version.
--
-- Atomic, because items and marks are of one moment.
local version, top, limit, each, kind, priority = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], ARGV[8]
-- An answer holds no more than this much content.
local CONTENT_MAX = 4 * 1024 * 1024

if known[1] ~= version then
  return {'again', standing()}
end

-- A list that gave as many as were looked at may have more behind them: down to the first such end all is known.
local found, known_to = {}, 0
local function look(set, channel, low, high)
  local list = redis.call('ZRANGE', set, high, '(' .. low, 'BYSCORE', 'REV', 'LIMIT', 0, each, 'WITHSCORES')
  for at = 1, #list, 2 do
    local position = tonumber(list[at + 1])
    found[#found + 1] = {position, channel, list[at]}
    if at == 2 * each - 1 and position > known_to then
      known_to = position
    end
  end
end
local marked = redis.call('EXISTS', MARKS) == 1
for at = 9, #ARGV, 3 do
  local channel, low, high = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if tonumber(top) < tonumber(high) then
    high = top
  end
  look(prefix .. 'i:' .. channel, channel, low, high)
  if marked then
    look(prefix .. 'mk:' .. user .. ':' .. channel, channel, '0', top)
  end
end
table.sort(found, function(one, other)
  return one[1] > other[1]
end)

local items, size, goes_on, last = {}, 0, known_to - 1, 0
for _, at in ipairs(found) do
  local position, channel, id = at[1], at[2], at[3]
  if position < known_to then
    break
  end
  -- What has a mark is in two lists.
  if position ~= last then
    last = position
    if #items == limit or size > CONTENT_MAX then
      goes_on = position
      break
    end
    local note = redis.call('HMGET', prefix .. 'n:' .. id, 'payload', 'published', 'kind', 'priority')
    local asked_for = (kind == '' or kind == note[3]) and (priority == '' or priority == note[4])
    if note[1] and asked_for then
      size = size + #note[1]
      items[#items + 1] = {position, channel, note[1], note[2], marked and redis.call('HGET', MARKS, id)}
    end
  end
end
return {'ok', epoch, head, math.max(goes_on, 0), items}
