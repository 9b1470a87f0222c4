-- Makes sure that the epoch in force is of this very history, or begins a new one.
--
-- ARGV[2]  the epoch that the caller takes for the latest; empty for none
-- ARGV[3]  the epoch to begin, where one has to begin: later than that
-- ARGV[4]  the run of this Redis (run_id)
-- ARGV[5]  1 when what it acknowledged survives its end, as far as can be told; else 0
-- ARGV[6]  an epoch that was seen in force; empty for none
-- ARGV[7]  a place that was seen in it
-- Result   {'ok', epoch, head, 1 where it has begun else 0}; {'again', epoch} when another epoch is the latest
--
-- Atomic, because of two nodes that find another Redis exactly one begins the epoch, and nobody appends between the look
-- at the head and the beginning.
local expected, begun, run, synced, seen_epoch, seen = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])

local books = redis.call('HMGET', BOOKS, 'epoch', 'run', 'synced', 'head')
local epoch, head = books[1] or '', tonumber(books[4] or 0)
local same = books[2] == run or (books[3] == '1' and synced == '1')
local behind = seen_epoch == epoch and head < seen
if epoch ~= '' and same and not behind then
  if books[2] ~= run or books[3] ~= synced then
    redis.call('HSET', BOOKS, 'run', run, 'synced', synced)
  end
  return {'ok', epoch, head, 0}
end
if epoch ~= expected then
  return {'again', epoch}
end
if epoch == '' then
  -- Where only the books were lost, no place is given out again.
  if redis.call('EXISTS', LOG) == 1 then
    local log = redis.call('XINFO', 'STREAM', LOG)
    for at = 1, #log, 2 do
      if log[at] == 'last-generated-id' then
        head = tonumber(string.match(log[at + 1], '^%d+'))
      end
    end
    redis.call('DEL', LOG)
  end
  redis.call('HSET', BOOKS, 'head', text(head), 'oldest', text(head + 1), 'bytes', 0, 'items', 0, 'scheduled', 0)
end
redis.call('HSET', BOOKS, 'epoch', begun, 'run', run, 'synced', synced)
return {'ok', begun, head, 1}
