-- Takes the lead of a task, or keeps it.
--
-- ARGV[2]  the task
-- ARGV[3]  the node
-- ARGV[4]  for how long, in milliseconds
-- Result   1; 0 while another node has it
--
-- Atomic, because of all who ask at once exactly one leads.
local lead, node, term = prefix .. 'l:' .. ARGV[2], ARGV[3], tonumber(ARGV[4])

local led = redis.call('HMGET', lead, 'node', 'until')
if led[1] and led[1] ~= node and now < tonumber(led[2]) then
  return 0
end
redis.call('HSET', lead, 'node', node, 'until', text(now + term))
return 1
