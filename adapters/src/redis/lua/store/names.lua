-- What every script of the store begins with: names, the clock, numbers as text.
--
-- ARGV[1]  what the store's keys begin with
--
-- Keys are made here, which a Redis cluster does not allow; one instance, or a primary that Sentinels name, does.
-- Lua counts in doubles. Positions and moments stay below 2^53, so that they are exact; `text` writes them out, because
-- Lua by itself writes no more than fourteen digits.
--
--   books          hash: epoch, run, synced, head, oldest, bytes, items, scheduled
--   log            stream: the events from oldest to head, the id is "<position>-0"
--   h:<channel>    sorted set: the places in the log whose events a person of the channel may read
--   i:<channel>    sorted set: the notifications in the channel's inbox, by place
--   n:<id>         hash: a notification, once; see publish in append.lua and schedule in accept.lua
--   ages           sorted set: the notifications in the inbox, by the place of their first event
--   expiries       sorted set: those of them that expire, by when
--   due            sorted set: what is scheduled, by when
--   k:<publisher>:<key>  string with an end: an idempotency key, its receipt
--   keys           sorted set: idempotency keys, by when their time is over
--   p:<user>       hash: first_seen, first_seen_at, through, reads, version
--   m:<user>       hash: what a person did with notifications by itself, by id
--   mk:<user>:<channel>  sorted set: the notifications of m, by place
--   mu:<user>:<channel>  sorted set: those of them that count as unread
--   w:<id>         set: who did something with a notification that is not on their own channel
--   clock          how far tests have moved the clock on, in milliseconds; absent otherwise
local prefix = ARGV[1]
local BOOKS, LOG = prefix .. 'books', prefix .. 'log'
local AGES, EXPIRIES, DUE = prefix .. 'ages', prefix .. 'expiries', prefix .. 'due'
local KEY_AGES = prefix .. 'keys'

local function text(number)
  return string.format('%.0f', number)
end

local function split(list)
  local parts = {}
  for part in string.gmatch(list, '%S+') do
    parts[#parts + 1] = part
  end
  return parts
end

local time = redis.call('TIME')
local moved = tonumber(redis.call('GET', prefix .. 'clock') or 0)
local now = time[1] * 1000 + math.floor(time[2] / 1000) + moved
