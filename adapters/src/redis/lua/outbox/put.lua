-- Writing one delivery, and where it is listed.

local IS_OPEN, IS_DEAD = '1', '3'

local function unlist(position, channel, standing)
  if standing ~= IS_OPEN then
    redis.call('ZREM', ENDED, position)
    redis.call('ZREM', DEAD, position)
    return
  end
  local waiting = prefix .. 'o:' .. channel
  redis.call('ZREM', OPEN, position)
  redis.call('ZREM', waiting, position)
  if redis.call('EXISTS', waiting) == 0 then
    redis.call('ZREM', CHANNELS, channel)
  end
end

local function list(position, channel, standing, since)
  if standing == IS_OPEN then
    redis.call('ZADD', OPEN, since, position)
    redis.call('ZADD', prefix .. 'o:' .. channel, position, position)
    redis.call('ZADD', CHANNELS, 0, channel)
    return
  end
  redis.call('ZADD', ENDED, position, position)
  if standing == IS_DEAD then
    redis.call('ZADD', DEAD, position, position)
  end
end

-- Writes a delivery in the place of whatever stood there, which may have been of another channel.
local function put(position, epoch, channel, standing, since, record, version)
  local row = prefix .. 'd:' .. position
  local known = redis.call('HMGET', row, 'channel', 'standing')
  if known[1] then
    unlist(position, known[1], known[2])
  end
  redis.call('HSET', row, 'epoch', epoch, 'channel', channel, 'standing', standing, 'since', since, 'record', record,
    'version', version)
  list(position, channel, standing, since)
end
