-- Appending to the log.

-- What an event takes whatever it says, its places in the indexes included. The store's settings say so, too.
local EVENT_BYTES = 200

-- Appends one event, of these fields, and returns its place. The id is refused where it would not come last.
local function append(...)
  head = head + 1
  bytes = bytes + EVENT_BYTES
  redis.call('XADD', LOG, text(head) .. '-0', 'at', text(now), ...)
  return head
end

-- Appends one event that the people of a channel may read.
local function append_on(channel, ...)
  local position = append('channel', channel, ...)
  redis.call('ZADD', prefix .. 'h:' .. channel, position, text(position))
  return position
end

-- Publishes a notification whose hash holds id, payload, kind, priority, expires, bytes and channels already: the
-- places in log and inbox, and the fields first, events, logged, listed, at and cursor. Returns the first place.
local function publish(id, channels, expires)
  local first = head + 1
  for _, channel in ipairs(channels) do
    local position = append_on(channel, 'kind', 'p', 'id', id)
    redis.call('ZADD', prefix .. 'i:' .. channel, position, id)
  end
  local note = prefix .. 'n:' .. id
  redis.call('HSET', note, 'first', text(first), 'events', #channels, 'logged', #channels, 'listed', 1, 'at', text(now),
    'cursor', epoch .. '-' .. text(head))
  redis.call('ZADD', AGES, first, id)
  if expires ~= '' then
    redis.call('ZADD', EXPIRIES, expires, id)
  end
  bytes = bytes + redis.call('HGET', note, 'bytes')
  items = items + #channels
  return first
end
