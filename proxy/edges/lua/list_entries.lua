-- Entries for readers: of one id, or by state ('' is any), at most so many.
-- ARGV[4] id or '', ARGV[5] state or '', ARGV[6] limit
-- Returns {UNKNOWN entries, forgotten ones, list of {id, field, value, ...}}
sweep(1000)
local unknown, limit, wanted, found = count(), tonumber(ARGV[6]), ARGV[5], {}

local function take(id)
  local entry = redis.call('HGETALL', KEYS[1] .. id)
  if #entry == 0 then
    redis.call('ZREM', KEYS[4], id)
  elseif wanted == '' or get(id, 'state') == wanted then
    table.insert(entry, 1, id)
    table.insert(found, entry)
  end
end

local function take_all(ids)
  for _, id in ipairs(ids) do
    if #found < limit then take(id) end
  end
end

if ARGV[4] ~= '' then
  take(ARGV[4])
elseif limit > 0 and wanted == 'unknown' then
  take_all(redis.call('ZRANGE', KEYS[2], 0, limit - 1))
elseif limit > 0 and wanted == 'in_flight' then
  take_all(redis.call('ZRANGE', KEYS[3], 0, -1))
elseif limit > 0 then
  if wanted == '' then take_all(redis.call('ZREVRANGE', KEYS[3], 0, limit - 1)) end
  local seen = {}
  for _, entry in ipairs(found) do seen[entry[1]] = true end
  for _, id in ipairs(redis.call('ZREVRANGE', KEYS[4], 0, -1)) do
    if #found < limit and not seen[id] then take(id) end
  end
end
return {unknown, trimmed, found}
