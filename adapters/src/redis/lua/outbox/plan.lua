-- Adds the deliveries of a stretch of the log, and moves the mark behind it.
--
-- ARGV[2]  the cursor where the mark has to be; empty for none
-- ARGV[3]  the cursor to which it moves
-- ARGV[4]  the epoch of the deliveries
-- ARGV[5…] five for each delivery: position, channel, standing, since, record
-- Result   1; 0 where the mark is elsewhere, and nothing is written
--
-- Atomic, because of all who plan one stretch exactly one does, and the mark never stands behind rows that are missing.
local from, to, epoch = ARGV[2], ARGV[3], ARGV[4]
local FIELDS = 5

if (redis.call('GET', MARK) or '') ~= from then
  return 0
end
for at = 5, #ARGV, FIELDS do
  put(ARGV[at], epoch, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], '0')
end
redis.call('SET', MARK, to)
return 1
