-- Looks an idempotency key up.
--
-- ARGV[2]  "<publisher>:<key>"
-- Result   {'ok', now, what is known}, nil where nothing is
--
-- Atomic, because whether its time is over is decided by the same moment.
return {'ok', now, redis.call('GET', prefix .. 'k:' .. ARGV[2])}
