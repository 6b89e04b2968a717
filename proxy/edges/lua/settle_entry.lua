-- Write down what became of calls, in order.
-- ARGV[4] JSON: list of {id, owner, state, ground or '', attempts, status or '', provider_request_id or '', age in ms,
-- and of the write: method, route, request_id, reference, keyed, body, rule}
-- Returns tracked
local function own_word(before, told, ground)
  if told == 'unknown' then return 'unknown', '' end
  if before == 'success' or before == 'replay' or (told == 'not_sent' and before ~= '') then return 'final', before end
  if before == 'other' and ground == 'refusal' then return 'unknown', '' end
  return told, ground
end

local function late_word(state, before, told, ground)
  if told == 'unknown' then return 'unknown', '' end
  local free = state == 'not_sent' or (state == 'final' and before == 'refusal')
  if free and told == 'final' then return told, ground end
  return state, before
end

local function after(state, before, mine, lapsed, told, ground)
  if STRENGTH[ground] or (state == 'final' and STRENGTH[before]) then
    return 'final', (STRENGTH[ground] or 0) > (STRENGTH[before] or 0) and ground or before
  end
  if mine and (state == 'in_flight' or lapsed) then return own_word(before, told, ground) end
  return late_word(state, before, told, ground)
end

-- What the provider said; a call that heard nothing leaves what was heard before in the same state.
local function answer(key, again, status, provider_id)
  if again and status == '' then return end
  redis.call('HDEL', key, 'status', 'provider_request_id')
  if status ~= '' then redis.call('HSET', key, 'status', status) end
  if provider_id ~= '' then redis.call('HSET', key, 'provider_request_id', provider_id) end
end

local function settle(id, owner, told, ground, attempts, status, provider_id, age, write)
  local key = KEYS[1] .. id
  local was = redis.call('HMGET', key, 'state', 'owner', 'lapsed', 'ground')
  local state, holder, before = was[1], was[2], was[4] or ''
  if not state then
    if told == 'not_sent' then return end
    redis.call('HSET', key, 'since', now - age, 'changed', now, 'calls', 1, 'lease', 0, 'lapsed', 0)
    describe(id, write)
    state, holder = 'in_flight', owner
  end
  local mine, was_settled = holder == owner, state == 'final' and STRENGTH[before]
  local new, why = after(state, before, mine, was[3] == '1', told, ground)
  local adopted = new == told and why == ground and not (was_settled and before == why)
  if mine then
    redis.call('HSET', key, 'owner', '', 'lease', 0)
    redis.call('ZREM', KEYS[3], id)
  end
  if mine or adopted then redis.call('HSET', key, 'lapsed', 0) end
  redis.call('HINCRBY', key, 'attempts', attempts)
  redis.call('HSET', key, 'ground', why)
  if new ~= state then
    put(id, new)
  elseif (mine or (holder or '') == '') and (new == 'final' or new == 'not_sent') then
    redis.call('PEXPIRE', key, ARGV[1])
  end
  if adopted then answer(key, new == state, status, provider_id) end
  redis.call('ZADD', KEYS[4], now, id)
end

begin()
sweep(100)
for _, one in ipairs(cjson.decode(ARGV[4])) do
  settle(one[1], one[2], one[3], one[4], one[5], one[6], one[7], one[8], {unpack(one, 9)})
end
redis.call('ZREMRANGEBYRANK', KEYS[4], 0, -1 - ARGV[3])
return tracked()
