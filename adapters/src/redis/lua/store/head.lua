-- Reads where the log stands.
--
-- Result   {'ok', epoch, head, oldest}
--
-- Atomic, because the two ends are of one moment.
return {'ok', epoch, head, oldest}
