-- Counts what is unread for a person.
--
-- ARGV[2]  the person
-- ARGV[3…] their channels, each once
-- Result   {'ok', epoch, head, unread}
--
-- Atomic, because the number is exact at a place.
return {'ok', epoch, head, unread_on(arguments_from(3))}
