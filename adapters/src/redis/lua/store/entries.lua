-- Entries of the log with the notifications that they carry, each once.

-- An answer holds no more than this much content: it is held at once by Redis, by the wire and by the node.
local CONTENT_MAX = 8 * 1024 * 1024

local function field(entry, name)
  local fields = entry[2]
  for at = 1, #fields, 2 do
    if fields[at] == name then
      return fields[at + 1]
    end
  end
  return nil
end

-- Returns the entries as far as their content fits, at least one, and the content: {id, payload, published, first, events}
-- for each notification. What was erased has none.
local function with_content(entries)
  local shown, contents, known, size = {}, {}, {}, 0
  for _, entry in ipairs(entries) do
    local id = field(entry, 'kind') == 'p' and field(entry, 'id')
    if id and not known[id] then
      known[id] = true
      local note = redis.call('HMGET', prefix .. 'n:' .. id, 'payload', 'published', 'first', 'events')
      if note[1] then
        size = size + #note[1]
        if size > CONTENT_MAX and #shown > 0 then
          return shown, contents
        end
        contents[#contents + 1] = {id, note[1], note[2], note[3], note[4]}
      end
    end
    shown[#shown + 1] = entry
  end
  return shown, contents
end
