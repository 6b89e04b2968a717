-- Take an entry for a call, making it if it is new.
-- ARGV[4] id, ARGV[5] owner, ARGV[6] lease in ms, ARGV[7] ms for which the provider keeps a key, then of the write:
-- ARGV[8] method, ARGV[9] route, ARGV[10] request id, ARGV[11] reference, ARGV[12] keyed 0 or 1, ARGV[13] body,
-- ARGV[14] rule
-- Returns {tracked, held 0 or 1, now, entry before: state, ground, status, since, changed, body, rule}
begin()
sweep(20)
local id, owner = ARGV[4], ARGV[5]
local key = KEYS[1] .. id
local was = redis.call('HMGET', key, 'state', 'ground', 'status', 'since', 'changed', 'body', 'rule', 'owner', 'lease')
local state = was[1] or ''
local listed = state == '' and redis.call('ZSCORE', KEYS[2], id)
if listed then -- its entry was evicted, and the index knows still that it is unknown
  redis.call('HSET', key, 'since', listed)
  describe(id, {ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14]})
  put(id, 'unknown')
  state, was[4], was[5], was[6], was[7] = 'unknown', listed, listed, ARGV[13], ARGV[14]
end
if (was[8] or '') ~= '' then
  if tonumber(was[9]) > now then return {tracked(), 1, now, '', '', '', '', '', '', ''} end
  if state == 'in_flight' then
    lapse(id)
    state = 'unknown'
  end
end
redis.call('HSET', key, 'owner', owner, 'lease', now + ARGV[6], 'lapsed', 0)
redis.call('HINCRBY', key, 'calls', 1)
redis.call('ZADD', KEYS[3], now + ARGV[6], id)
if state == '' or state == 'not_sent' then redis.call('HSET', key, 'since', now) end
local fresh = now - (tonumber(was[4]) or now) < tonumber(ARGV[7])
if state == 'final' and STRENGTH[was[2] or ''] and fresh then
  redis.call('PERSIST', key)
elseif state == '' or state == 'not_sent' or state == 'final' then
  describe(id, {ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14]})
  put(id, 'in_flight')
end
local before = {tracked(), 0, now, state}
for place = 2, 7 do before[place + 3] = was[place] or '' end
return before
