-- Stores a batch of notifications, one outcome for each, in order.
--
-- ARGV[2]  how many idempotency keys there may be
-- ARGV[3]  for how many milliseconds a key is remembered
-- ARGV[4]  how many notifications may be scheduled
-- ARGV[5]  how many bytes they may hold
-- ARGV[6…] ten for each item: id, payload, kind, priority, when it expires, when it is due, bytes, its channels
--          separated by spaces, "<publisher>:<key>" and its digest; what does not apply is empty
-- Result   {'ok', epoch, now, outcomes}, of which each is {'fresh', first place or 0}, {'repeat', receipt}, {'other'},
--          {'keys_full', when there is room} or {'schedule_full', when there is room}. A receipt is "id events cursor
--          accepted_at", the cursor "-" where there is none.
--
-- Atomic, because the places of a batch follow one another, and of two that show one key or one id the second finds what
-- the first has stored. A batch that is sent again therefore finds itself.
local keys_max, key_ttl, scheduled_max, scheduled_bytes_max = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]),
  tonumber(ARGV[5])
local FIELDS = 10
-- How many keys whose time is over are dropped to make room for one more.
local ROOM_STEP = 64

local function receipt(id, events, cursor, at)
  return id .. ' ' .. events .. ' ' .. cursor .. ' ' .. at
end

-- Returns the receipt of what is stored under an id.
local function stored(id)
  local note = redis.call('HMGET', prefix .. 'n:' .. id, 'events', 'cursor', 'at')
  if not note[3] then
    return nil
  end
  return receipt(id, note[1] or '0', note[2] or '-', note[3])
end

-- Returns what is known under a key: its digest and its receipt.
local function recall(key)
  local known = redis.call('GET', prefix .. 'k:' .. key)
  if not known then
    return nil
  end
  local till, digest, found = string.match(known, '^(%S+) (%S+) (.*)$')
  if tonumber(till) <= now then
    return nil
  end
  return digest, found
end

local function room_for_a_key()
  if redis.call('ZCARD', KEY_AGES) < keys_max then
    return true
  end
  for _, over in ipairs(redis.call('ZRANGE', KEY_AGES, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, ROOM_STEP)) do
    redis.call('DEL', prefix .. 'k:' .. over)
    redis.call('ZREM', KEY_AGES, over)
  end
  return redis.call('ZCARD', KEY_AGES) < keys_max
end

local function first_score(set)
  local first = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  return first[2] or text(now)
end

local function accept(item)
  local id, expires, due, weight = ARGV[item], ARGV[item + 4], ARGV[item + 5], tonumber(ARGV[item + 6])
  local key, digest = ARGV[item + 8], ARGV[item + 9]
  if key ~= '' then
    local known, found = recall(key)
    if known then
      return known == digest and {'repeat', found} or {'other'}
    end
    if not room_for_a_key() then
      return {'keys_full', first_score(KEY_AGES)}
    end
  end
  -- An id is made once, so that whoever shows it again repeats a request whose answer was lost.
  local found = stored(id)
  if found then
    return {'repeat', found}
  end
  local channels = split(ARGV[item + 7])
  local full = redis.call('ZCARD', DUE) >= scheduled_max or scheduled + weight > scheduled_bytes_max
  if due ~= '' and full then
    return {'schedule_full', first_score(DUE)}
  end
  local first, events, cursor = 0, 0, '-'
  if due ~= '' or #channels > 0 then
    redis.call('HSET', prefix .. 'n:' .. id, 'payload', ARGV[item + 1], 'kind', ARGV[item + 2], 'priority',
      ARGV[item + 3], 'expires', expires, 'bytes', weight, 'channels', ARGV[item + 7], 'at', text(now))
  end
  if due ~= '' then
    redis.call('ZADD', DUE, due, id)
    scheduled = scheduled + weight
  elseif #channels > 0 then
    first, events = publish(id, channels, expires), #channels
    cursor = epoch .. '-' .. text(head)
  end
  if key ~= '' then
    local till = text(now + key_ttl)
    redis.call('SET', prefix .. 'k:' .. key, till .. ' ' .. digest .. ' ' .. receipt(id, events, cursor, text(now)),
      'PX', key_ttl)
    redis.call('ZADD', KEY_AGES, till, key)
  end
  return {'fresh', first}
end

local outcomes = {}
for item = 6, #ARGV, FIELDS do
  outcomes[#outcomes + 1] = accept(item)
end
keep_books()
return {'ok', epoch, now, outcomes}
