-- Appends control for nodes.
--
-- ARGV[2]  the control
-- Result   {'ok', epoch, now, place}
--
-- Atomic, because a place is given out once.
local position = append('kind', 'c', 'detail', ARGV[2])
keep_books()
return {'ok', epoch, now, position}
