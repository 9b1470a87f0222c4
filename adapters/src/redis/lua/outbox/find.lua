-- Reads the deliveries of some events.
--
-- ARGV[2…] their positions, each once, in order
-- Result   {now, rows}; see rows.lua
--
-- One script for one moment.
local positions = {}
for at = 2, #ARGV do
  positions[#positions + 1] = ARGV[at]
end
return {now, rows(positions)}
