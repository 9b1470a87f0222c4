-- Takes a stream out, if it is this person's.
--
-- KEYS[1]  the streams of the stream's node, as enter.lua keeps them
-- KEYS[2]  the person's streams
-- ARGV[1]  the connection
-- ARGV[2]  the person
-- Result   how many were taken out
--
-- Atomic, so that nobody finds a stream in one of the two and not in the other.
local node_streams, user_streams = KEYS[1], KEYS[2]
local connection, user = ARGV[1], ARGV[2]

local serial = string.sub(connection, 10)
local found = redis.call('ZRANGEBYLEX', node_streams, '[' .. serial .. ' ', '(' .. serial .. '!')
for _, stream in ipairs(found) do
  if string.match(stream, '^%x+ %-?%d+ (.*)$') == user then
    redis.call('ZREM', node_streams, stream)
    return redis.call('ZREM', user_streams, connection)
  end
end
return 0
