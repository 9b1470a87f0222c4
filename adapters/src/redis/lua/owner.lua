-- Says whose a stream is.
--
-- KEYS[1]  the lease of the stream's node
-- KEYS[2]  the streams of that node
-- ARGV[1]  the stream's serial
-- Result   the person; nothing (nil) when there is no such stream or its node has no lease
--
-- One script, so that the lease and the stream are of one moment.
local lease, node_streams, serial = KEYS[1], KEYS[2], ARGV[1]

if redis.call('EXISTS', lease) == 0 then
  return false
end
local found = redis.call('ZRANGEBYLEX', node_streams, '[' .. serial .. ' ', '(' .. serial .. '!')
if found[1] == nil then
  return false
end
return string.match(found[1], '^%x+ %-?%d+ (.*)$')
