-- Reading deliveries.

-- Returns position, epoch, channel, version and record of each of these that is there.
local function rows(positions)
  local found = {}
  for _, position in ipairs(positions) do
    local row = redis.call('HMGET', prefix .. 'd:' .. position, 'epoch', 'channel', 'version', 'record')
    if row[1] then
      found[#found + 1] = {position, row[1], row[2], row[3], row[4]}
    end
  end
  return found
end
