-- Drops a portion of what has fallen out of its bounds.
--
-- ARGV[2]  how old events may be, in milliseconds
-- ARGV[3]  how many there may be
-- ARGV[4]  how many bytes they may hold
-- ARGV[5]  how old notifications in the inbox may be, in milliseconds
-- ARGV[6]  how many items the inbox may hold
-- ARGV[7]  how much of each kind is looked at
-- Result   {'ok', events, notifications, keys} that were dropped
--
-- Atomic, because nobody may read from a place that is gone: `oldest` moves in the same step.
local history_ttl, history_max, history_bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local inbox_ttl, items_max, step = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])

local function drop_keys()
  local over = redis.call('ZRANGE', KEY_AGES, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, step)
  for _, key in ipairs(over) do
    redis.call('DEL', prefix .. 'k:' .. key)
    redis.call('ZREM', KEY_AGES, key)
  end
  return #over
end

-- Takes the oldest notifications out of the inbox while they are too old or too many.
local function drop_items()
  local dropped, budget = 0, step
  for _, id in ipairs(redis.call('ZRANGE', AGES, 0, step - 1)) do
    local at = tonumber(redis.call('HGET', prefix .. 'n:' .. id, 'at') or 0)
    if budget <= 0 or (at + inbox_ttl > now and items <= items_max) then
      break
    end
    budget = leave(id, budget)
    dropped = dropped + 1
  end
  return dropped
end

-- Forgets that the log holds one more event of a notification; with the last one its content goes out of the history.
local function release(id, position)
  local note = prefix .. 'n:' .. id
  local found = redis.call('HMGET', note, 'first', 'events', 'bytes', 'listed')
  local first = tonumber(found[1])
  -- An id that was retracted and used anew is another notification.
  if not first or position < first or position >= first + tonumber(found[2]) then
    return
  end
  if redis.call('HINCRBY', note, 'logged', -1) > 0 then
    return
  end
  bytes = bytes - found[3]
  if found[4] == '0' then
    redis.call('DEL', note)
  end
end

local function drop_events()
  local last = oldest - 1
  for _, entry in ipairs(redis.call('XRANGE', LOG, '-', '+', 'COUNT', step)) do
    local event = {}
    for at = 1, #entry[2], 2 do
      event[entry[2][at]] = entry[2][at + 1]
    end
    local too_old = tonumber(event.at) + history_ttl <= now
    if not too_old and head - last <= history_max and bytes <= history_bytes then
      break
    end
    last = tonumber(string.match(entry[1], '^%d+'))
    bytes = bytes - EVENT_BYTES
    if event.channel then
      redis.call('ZREM', prefix .. 'h:' .. event.channel, text(last))
    end
    if event.kind == 'p' then
      release(event.id, last)
    end
  end
  local dropped = last + 1 - oldest
  if dropped > 0 then
    oldest = last + 1
    redis.call('HSET', BOOKS, 'oldest', text(oldest))
    redis.call('XTRIM', LOG, 'MINID', text(oldest) .. '-0')
  end
  return dropped
end

sweep(step)
local keys, notifications, events = drop_keys(), drop_items(), drop_events()
keep_books()
return {'ok', events, notifications, keys}
