-- Clears away a portion of what has expired.
--
-- ARGV[2]  how much: about as many channels and marks are looked at
-- Result   {'ok', 1 where more has expired else 0}
--
-- Atomic, because a notification leaves inbox, counts and marks at once.
sweep(tonumber(ARGV[2]))
keep_books()
return {'ok', redis.call('ZCOUNT', EXPIRIES, '-inf', text(now)) > 0 and 1 or 0}
