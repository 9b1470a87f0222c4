-- Lists streams of nodes that hold a lease, by connection.
--
-- KEYS[1]  all nodes
-- ARGV[1]  what keys begin with
-- ARGV[2]  the connection after which the list begins, or nothing
-- ARGV[3]  how many at the most
-- Result   connection, when it was opened, person; and so on
--
-- One script for one moment. It reads no more streams than it returns.
local nodes, prefix, after, limit = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])

local first_node = string.sub(after, 1, 8)
local sorted = redis.call('SMEMBERS', nodes)
table.sort(sorted)

local list = {}
local listed = 0
for _, node in ipairs(sorted) do
  if listed >= limit then
    break
  end
  if node >= first_node and redis.call('EXISTS', prefix .. 'lease:' .. node) == 1 then
    local from = '-'
    if node == first_node then
      from = '(' .. string.sub(after, 10) .. '!'
    end
    local streams = redis.call('ZRANGEBYLEX', prefix .. 'node:' .. node, from, '+', 'LIMIT', 0, limit - listed)
    for _, stream in ipairs(streams) do
      local serial, opened, user = string.match(stream, '^(%x+) (%-?%d+) (.*)$')
      list[#list + 1] = node .. '-' .. serial
      list[#list + 1] = opened
      list[#list + 1] = user
      listed = listed + 1
    end
  end
end
return list
