-- What every script of the outbox begins with: names, the clock, numbers as text.
--
-- ARGV[1]  what the outbox's keys begin with
--
-- Keys are made here, which a Redis cluster does not allow; one instance, or a primary that Sentinels name, does.
-- Lua counts in doubles. Positions and moments stay below 2^53, so that they are exact; epochs do not, and are texts.
--
--   mark           string: the cursor up to where the log is planned
--   d:<position>   hash: a delivery; epoch, channel, standing, since, record, version
--   channels       sorted set, all scores 0: the channels that have open deliveries, as their bytes sort
--   o:<channel>    sorted set: the open deliveries of a channel, by position
--   open           sorted set: all open deliveries, by when they became due
--   ended          sorted set: all others, by position
--   dead           sorted set: those of them that are dead, by position
--   h:<user>       hash with an end: who holds a token; until, record
--   tally          sorted set: what nodes told of their publishes, by when
--   l:<task>       hash: who leads a task; node, until
--   clock          how far tests have moved the clock on, in milliseconds; absent otherwise
local prefix = ARGV[1]
local MARK, CHANNELS = prefix .. 'mark', prefix .. 'channels'
local TALLY = prefix .. 'tally'
local OPEN, ENDED, DEAD = prefix .. 'open', prefix .. 'ended', prefix .. 'dead'

local function text(number)
  return string.format('%.0f', number)
end

local time = redis.call('TIME')
local moved = tonumber(redis.call('GET', prefix .. 'clock') or 0)
local now = time[1] * 1000 + math.floor(time[2] / 1000) + moved
