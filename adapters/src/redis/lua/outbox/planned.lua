-- Says up to where the log is planned.
--
-- Result   the cursor; nothing (nil) before the first time
return redis.call('GET', MARK)
