-- Take an entry for a call, making it if it is new.
-- ARGV[4] id, ARGV[5] owner, ARGV[6] lease in ms, then of the write: ARGV[7] method, ARGV[8] route, ARGV[9] request id,
-- ARGV[10] reference, ARGV[11] keyed 0 or 1, ARGV[12] body
-- Returns {held 0 or 1, now, UNKNOWN entries, forgotten ones, entry before: state, status, since, changed, body}
sweep(20)
local id, owner = ARGV[4], ARGV[5]
local was = redis.call('HMGET', KEYS[1] .. id, 'state', 'status', 'since', 'changed', 'body', 'owner', 'lease')
local state = was[1] or ''
if state ~= '' and was[6] ~= '' then
  if tonumber(was[7]) > now then return {1, now, count(), trimmed, '', '', '', '', ''} end
  if state == 'in_flight' then
    lapse(id)
    state = 'unknown'
  end
end
redis.call('HSET', KEYS[1] .. id, 'owner', owner, 'lease', now + ARGV[6], 'lapsed', 0)
redis.call('HINCRBY', KEYS[1] .. id, 'calls', 1)
redis.call('ZADD', KEYS[3], now + ARGV[6], id)
if state == '' or state == 'not_sent' then
  redis.call('HSET', KEYS[1] .. id, 'method', ARGV[7], 'route', ARGV[8], 'request_id', ARGV[9], 'reference', ARGV[10],
    'keyed', ARGV[11], 'body', ARGV[12], 'since', now)
  put(id, 'in_flight')
elseif state == 'final' then
  redis.call('PERSIST', KEYS[1] .. id)
end
return {0, now, count(), trimmed, state, was[2] or '', was[3] or '', was[4] or '', was[5] or ''}
