-- Leaving the inbox: by expiry, by age, by number, by retraction.

local function forget(user, channel, id)
  redis.call('HDEL', prefix .. 'm:' .. user, id)
  redis.call('ZREM', prefix .. 'mk:' .. user .. ':' .. channel, id)
  redis.call('ZREM', prefix .. 'mu:' .. user .. ':' .. channel, id)
end

-- Takes a notification and what people did with it out of the inbox. Who did something with it is bounded by a budget;
-- the rest waits among the expiries, as if it had expired at the beginning of time, and every reader has it cleared
-- away first. Returns what is left of the budget, and whether nothing waits.
local function leave(id, budget)
  local note = prefix .. 'n:' .. id
  local found = redis.call('HMGET', note, 'channels', 'listed', 'logged')
  if found[2] == '1' then
    local channels = split(found[1])
    for _, channel in ipairs(channels) do
      redis.call('ZREM', prefix .. 'i:' .. channel, id)
      local owner = string.match(channel, '^private:user:([^:]+):notifications$')
      if owner then
        forget(owner, channel, id)
      end
    end
    redis.call('ZREM', AGES, id)
    redis.call('HSET', note, 'listed', 0)
    items = items - #channels
    budget = budget - #channels
  end
  local who = redis.call('SPOP', prefix .. 'w:' .. id, math.max(budget, 1))
  for _, marker in ipairs(who) do
    local user, channel = string.match(marker, '^(%S+) (%S+)$')
    forget(user, channel, id)
  end
  budget = budget - 1 - #who
  if redis.call('EXISTS', prefix .. 'w:' .. id) == 1 then
    redis.call('ZADD', EXPIRIES, 0, id)
    return budget, false
  end
  redis.call('ZREM', EXPIRIES, id)
  if found[3] == '0' then
    redis.call('DEL', note)
  end
  return budget, true
end

-- Takes a notification out of what people read of the log, where it still is.
local function hide(id)
  local found = redis.call('HMGET', prefix .. 'n:' .. id, 'channels', 'first')
  if not found[1] or not found[2] then
    return
  end
  local position = tonumber(found[2])
  for _, channel in ipairs(split(found[1])) do
    redis.call('ZREM', prefix .. 'h:' .. channel, text(position))
    position = position + 1
  end
end

-- Clears away what has expired, within a budget. Returns what is left of it.
local function sweep(budget)
  for _, id in ipairs(redis.call('ZRANGE', EXPIRIES, '-inf', text(now), 'BYSCORE', 'LIMIT', 0, budget)) do
    if budget <= 0 then
      break
    end
    local expires = redis.call('HGET', prefix .. 'n:' .. id, 'expires')
    if expires and expires ~= '' and tonumber(expires) <= now then
      hide(id)
    end
    budget = leave(id, budget)
  end
  return budget
end
