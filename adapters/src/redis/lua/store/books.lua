-- The books: where the log stands.
--
-- Result   {'lost'} when there are none: whoever asked begins a history first (verify.lua)
local epoch, head, oldest, bytes, items, scheduled
do
  local books = redis.call('HMGET', BOOKS, 'epoch', 'head', 'oldest', 'bytes', 'items', 'scheduled')
  if not books[1] then
    return {'lost'}
  end
  epoch = books[1]
  head, oldest = tonumber(books[2]), tonumber(books[3])
  bytes, items, scheduled = tonumber(books[4]), tonumber(books[5]), tonumber(books[6])
end

local function keep_books()
  redis.call('HSET', BOOKS, 'head', text(head), 'oldest', text(oldest), 'bytes', text(bytes), 'items', text(items),
    'scheduled', text(scheduled))
end
