-- Reads the oldest open delivery of each channel, by the channels' names.
--
-- ARGV[2]  the channel after which the page begins; empty for the first
-- ARGV[3]  how many at the most
-- Result   {now, rows}; see rows.lua
--
-- One script for one moment. What waits behind a channel's oldest is not looked at.
local after, limit = ARGV[2], ARGV[3]

local from = after == '' and '-' or '(' .. after
local heads = {}
for _, channel in ipairs(redis.call('ZRANGE', CHANNELS, from, '+', 'BYLEX', 'LIMIT', 0, limit)) do
  heads[#heads + 1] = redis.call('ZRANGE', prefix .. 'o:' .. channel, 0, 0)[1]
end
return {now, rows(heads)}
