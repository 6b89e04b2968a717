-- Write down what became of calls, in order.
-- ARGV[4] JSON: list of {id, owner, state, settles, attempts, status or '', provider_request_id or '', method, route,
-- request_id, reference, keyed, body}
-- Returns {UNKNOWN entries, forgotten ones}
local function after(state, mine, lapsed, told, settles)
  if state == 'final' then return 'final' end
  if mine and (state ~= 'unknown' or lapsed) then return told end
  if told == 'final' and settles then return 'final' end
  return told == 'unknown' and 'unknown' or state
end

local function settle(id, owner, told, settles, attempts, status, provider_id, write)
  local key = KEYS[1] .. id
  local was = redis.call('HMGET', key, 'state', 'owner', 'lapsed')
  local state, holder = was[1], was[2]
  if not state then
    if told == 'not_sent' then return end
    redis.call('HSET', key, 'method', write[1], 'route', write[2], 'request_id', write[3], 'reference', write[4],
      'keyed', write[5], 'body', write[6], 'since', now, 'calls', 1, 'lease', 0, 'lapsed', 0)
    state, holder = 'not_sent', owner
  end
  local mine = holder == owner
  local new = after(state, mine, was[3] == '1', told, settles)
  if mine then
    redis.call('HSET', key, 'owner', '', 'lease', 0)
    redis.call('ZREM', KEYS[3], id)
  end
  redis.call('HINCRBY', key, 'attempts', attempts)
  if new == told and state ~= 'final' then
    redis.call('HSET', key, 'lapsed', 0)
    if new ~= state or state == 'not_sent' then put(id, new) end
    if status ~= '' then redis.call('HSET', key, 'status', status) end
    if provider_id ~= '' then redis.call('HSET', key, 'provider_request_id', provider_id) end
  elseif state == 'final' or state == 'not_sent' then
    redis.call('PEXPIRE', key, ARGV[1])
  end
  redis.call('ZADD', KEYS[4], now, id)
end

sweep(100)
for _, one in ipairs(cjson.decode(ARGV[4])) do
  settle(one[1], one[2], one[3], one[4], one[5], one[6], one[7], {one[8], one[9], one[10], one[11], one[12], one[13]})
end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[3])
return {count(), trimmed}
