-- What a replica still knows to be unknown: made anew where the store has lost it, and unknown again where it came again
-- meanwhile and nothing settled it. What was forgotten for want of room stays so.
-- ARGV[4] JSON: list of {id, attempts, age in ms, method, route, request_id, reference, keyed, body, rule}
-- Returns {tracked, ids that were missing, ids that are unknown no more}
begin()
local missing, resolved = {}, {}

local function restore(id, attempts, age, write)
  local key, state = KEYS[1] .. id, get(id, 'state')
  if state == '' then
    redis.call('HSET', key, 'since', now - age, 'calls', 1, 'attempts', attempts, 'owner', '', 'lease', 0)
    describe(id, write)
    redis.call('ZADD', KEYS[4], now, id)
  end
  local since = math.min(tonumber(get(id, 'since')), now - age)
  redis.call('HSET', key, 'since', since, 'ground', '', 'lapsed', 0)
  put(id, 'unknown')
  table.insert(missing, id)
end

for _, one in ipairs(cjson.decode(ARGV[4])) do
  local id = one[1]
  local state = get(id, 'state')
  local room = state ~= '' or redis.call('ZCARD', KEYS[2]) < tonumber(ARGV[2])
  if STRENGTH[get(id, 'ground')] then
    table.insert(resolved, id)
  elseif state ~= 'unknown' and room then
    restore(id, one[2], one[3], {unpack(one, 4)})
  end
end
return {tracked(), missing, resolved}
