-- Enters a stream, and says which ones of the same person go beyond a limit.
--
-- KEYS[1]  the lease of the stream's node
-- KEYS[2]  the streams of that node: a sorted set, all scores 0, of "serial opened user"
-- KEYS[3]  the person's streams: a sorted set of connections by when they were opened
-- ARGV[1]  what keys begin with
-- ARGV[2]  the connection: eight digits of the node, a hyphen, the serial
-- ARGV[3]  when it was opened, in milliseconds since 1970
-- ARGV[4]  the person
-- ARGV[5]  the limit
-- ARGV[6]  1 when the stream itself is not among those that go, because it was opened just now; otherwise 0
-- Result   the connections beyond the limit, oldest first; nothing (nil) when the node has no lease
--
-- Atomic, because two nodes that look before either has written would both find room. Streams of nodes without a lease
-- do not count and are taken out here; so the keys of their leases are made here, which a Redis cluster does not allow.
local lease, node_streams, user_streams = KEYS[1], KEYS[2], KEYS[3]
local prefix, connection, opened, user, limit = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local stays = ARGV[6] == '1'

if redis.call('EXISTS', lease) == 0 then
  return false
end

-- The first write is one that Redis refuses when it is full: after another it would let it pass.
local serial = string.sub(connection, 10)
local stream = serial .. ' ' .. opened .. ' ' .. user
redis.call('ZADD', node_streams, 0, stream)
redis.call('ZADD', user_streams, opened, connection)
for _, known in ipairs(redis.call('ZRANGEBYLEX', node_streams, '[' .. serial .. ' ', '(' .. serial .. '!')) do
  if known ~= stream then
    redis.call('ZREM', node_streams, known)
  end
end

local leases = {}
local all, going = 0, {}
for _, other in ipairs(redis.call('ZRANGE', user_streams, 0, -1)) do
  local node = string.sub(other, 1, 8)
  if leases[node] == nil then
    leases[node] = redis.call('EXISTS', prefix .. 'lease:' .. node)
  end
  if leases[node] == 0 then
    redis.call('ZREM', user_streams, other)
  else
    all = all + 1
    if not (stays and other == connection) then
      going[#going + 1] = other
    end
  end
end

local beyond = {}
for at = 1, math.min(all - limit, #going) do
  beyond[at] = going[at]
end
return beyond
