-- Takes a turn of every budget, or of none. The second writing of domain/src/limit.rs, by Redis' own clock.
--
-- KEYS     one for each budget: its log, MessagePack of "last hit in milliseconds, hits" for each second with hits,
--          oldest first
-- ARGV[1]  the window, in milliseconds
-- ARGV[2]  the step whose hits are kept together, in milliseconds
-- ARGV[3…] for each budget what a window lets through
-- Result   1 when a turn was taken, else 0; then the budget that decides, from 0 on; what is left of it; and when more
--          is left, in milliseconds
--
-- Atomic, because of all who ask at once exactly as many take a turn as fit, and nobody takes a turn of one budget when
-- another refuses. What is refused writes nothing.
local window, step = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)

local logs = {}
local refused, longest = 0, 0
for budget, key in ipairs(KEYS) do
  local whole = tonumber(ARGV[2 + budget])
  local text = redis.call('GET', key)
  local runs = text and cmsgpack.unpack(text) or {}
  -- A clock that was set back does not stop the log.
  local now = math.max(clock, runs[#runs - 1] or 0)
  local held, used = {}, 0
  for at = 1, #runs, 2 do
    if runs[at] + window > now then
      held[#held + 1] = runs[at]
      held[#held + 1] = runs[at + 1]
      used = used + runs[at + 1]
    end
  end
  logs[budget] = {runs = held, used = used, now = now, whole = whole}
  local left = used
  for at = 1, #held, 2 do
    if left < whole then
      break
    end
    left = left - held[at + 1]
    local wait = held[at] + window - now
    if left < whole and wait > longest then
      refused, longest = budget, wait
    end
  end
end
if refused > 0 then
  return {0, refused - 1, 0, longest}
end

local least
for budget, key in ipairs(KEYS) do
  local log = logs[budget]
  local runs, now = log.runs, log.now
  local newest = runs[#runs - 1]
  if newest and math.floor(newest / step) == math.floor(now / step) then
    runs[#runs - 1] = now
    runs[#runs] = runs[#runs] + 1
  else
    runs[#runs + 1] = now
    runs[#runs + 1] = 1
  end
  -- By then everything has left; and where a clock was set back far, nobody is shut out for longer.
  redis.call('SET', key, cmsgpack.pack(runs), 'PX', window)
  local remaining = math.max(log.whole - log.used - 1, 0)
  if not least or remaining < least[3] then
    least = {1, budget - 1, remaining, runs[1] + window - now}
  end
end
return least
