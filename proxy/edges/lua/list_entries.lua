-- Entries for readers: of one id, or by state ('' is any), at most so many.
-- ARGV[4] id or '', ARGV[5] state or '', ARGV[6] limit
-- Returns {tracked, list of {id, field, value, ...}}
sweep(1000)
local limit, wanted, found, seen = tonumber(ARGV[6]), ARGV[5], {}, {}

local function take(id)
  if seen[id] or #found >= limit then return end
  seen[id] = true
  local entry = redis.call('HGETALL', KEYS[1] .. id)
  if #entry == 0 then
    redis.call('ZREM', KEYS[4], id)
  elseif wanted == '' or get(id, 'state') == wanted then
    table.insert(entry, 1, id)
    table.insert(found, entry)
  end
end

local function take_all(ids)
  for _, id in ipairs(ids) do take(id) end
end

-- Owned and unknown ones are looked up beside the latest: what a dead replica left is in no other index.
local function newest()
  local ids, changed = {}, {}
  for _, index in ipairs({KEYS[2], KEYS[3], KEYS[4]}) do
    for _, id in ipairs(redis.call('ZREVRANGE', index, 0, limit - 1)) do
      if not changed[id] then
        changed[id] = tonumber(get(id, 'changed')) or 0
        table.insert(ids, id)
      end
    end
  end
  table.sort(ids, function(a, b) return changed[a] > changed[b] end)
  return ids
end

if ARGV[4] ~= '' then
  take(ARGV[4])
elseif limit > 0 and wanted == 'unknown' then
  take_all(redis.call('ZRANGE', KEYS[2], 0, limit - 1))
elseif limit > 0 and wanted == 'in_flight' then
  take_all(redis.call('ZRANGE', KEYS[3], 0, -1))
elseif limit > 0 and wanted == '' then
  take_all(newest())
elseif limit > 0 then
  take_all(redis.call('ZREVRANGE', KEYS[4], 0, -1))
end
return {tracked(), found}
