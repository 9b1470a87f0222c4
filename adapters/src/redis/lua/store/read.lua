-- Reads every event after a place, for tails.
--
-- ARGV[2]  the epoch that the place belongs to
-- ARGV[3]  the place
-- ARGV[4]  at most this many
-- Result   {'ok', epoch, head, oldest, entries, contents}; no entries where the place cannot be read from
--
-- Atomic, because what is gone is told from what is there by the same moment's oldest.
local of, after, limit = ARGV[2], tonumber(ARGV[3]), ARGV[4]

if of ~= epoch or after + 1 < oldest or after >= head then
  return {'ok', epoch, head, oldest, {}, {}}
end
local shown, contents = with_content(redis.call('XRANGE', LOG, text(after + 1) .. '-0', '+', 'COUNT', limit))
return {'ok', epoch, head, oldest, shown, contents}
