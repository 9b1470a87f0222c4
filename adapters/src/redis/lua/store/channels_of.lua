-- Reads which channels a notification was or will be published on.
--
-- ARGV[2]  the notification
-- Result   {'ok', channels separated by spaces}, nil when it is unknown or gone
--
-- Atomic, because one that is being cleared away is gone.
local found = redis.call('HMGET', prefix .. 'n:' .. ARGV[2], 'channels', 'gone')
return {'ok', not found[2] and found[1]}
