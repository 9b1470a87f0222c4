-- Writes deliveries that were read, each only where it still is of the epoch and at the version that were read.
--
-- ARGV[2…] six for each: position, epoch, version, standing, since, record
-- Result   1 for each that was written, 0 for each that was not, in order
--
-- Atomic, because of all who read one version exactly one writes the next: whoever is told so may send, and nobody else.
local FIELDS = 6

local written = {}
for at = 2, #ARGV, FIELDS do
  local position, epoch, version = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local known = redis.call('HMGET', prefix .. 'd:' .. position, 'epoch', 'version', 'channel')
  local current = known[1] == epoch and known[2] == version
  if current then
    put(position, epoch, known[3], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5], text(version + 1))
  end
  written[#written + 1] = current and 1 or 0
end
return written
