-- Prepended to every other ledger script. The rules are proxy/core/ledger.py's, said again where they are atomic;
-- tests/ledger/test_twins.py and test_contract.py hold both to the same.
-- KEYS[1] prefix of the entries, each a hash: state, ground, owner, lease and lapsed, since, changed (ms), calls,
--         attempts, status, provider_request_id, and of the write: method, route, request_id, reference, keyed, body, rule
-- KEYS[2] zset: UNKNOWN entries, id by since when.  KEYS[3] zset: owned entries, id by the end of the lease
-- KEYS[4] zset: the latest settled entries, id by when.  KEYS[5] when this ledger began: another one is another ledger
-- ARGV[1] retention of FINAL and NOT_SENT in ms, ARGV[2] most UNKNOWN entries, ARGV[3] most entries in KEYS[4]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local trimmed = 0
local STRENGTH = {decline = 1, replay = 2, success = 3} -- of what settles

-- Whoever writes marks the beginning; whoever reads may do so where nothing can be written.
local function begin() redis.call('SET', KEYS[5], t[1] .. '.' .. t[2], 'NX') end

local function get(id, field) return redis.call('HGET', KEYS[1] .. id, field) or '' end

-- Sets an entry's state and keeps the indexes in step; only a state that is no longer in doubt may expire.
local function put(id, state)
  redis.call('HSET', KEYS[1] .. id, 'state', state, 'changed', now)
  if state == 'unknown' then redis.call('ZADD', KEYS[2], 'NX', now, id) else redis.call('ZREM', KEYS[2], id) end
  if state == 'final' or state == 'not_sent' then
    redis.call('PEXPIRE', KEYS[1] .. id, ARGV[1])
  else
    redis.call('PERSIST', KEYS[1] .. id)
  end
end

local function describe(id, write)
  redis.call('HSET', KEYS[1] .. id, 'method', write[1], 'route', write[2], 'request_id', write[3], 'reference', write[4],
    'keyed', write[5], 'body', write[6], 'rule', write[7])
end

-- A call in flight whose owner died: nobody knows any more what became of it.
local function lapse(id)
  local state = get(id, 'state')
  redis.call('ZREM', KEYS[3], id)
  if state == 'in_flight' then
    put(id, 'unknown')
    redis.call('HSET', KEYS[1] .. id, 'lapsed', 1)
  elseif state == 'final' then
    redis.call('PEXPIRE', KEYS[1] .. id, ARGV[1])
  end
end

local function sweep(most)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, most)) do lapse(id) end
end

-- How many are UNKNOWN; the oldest beyond the bound are forgotten, and counted in `trimmed`.
local function count()
  local unknown = redis.call('ZCARD', KEYS[2])
  while unknown > tonumber(ARGV[2]) do
    local id = redis.call('ZPOPMIN', KEYS[2])[1]
    redis.call('DEL', KEYS[1] .. id)
    redis.call('ZREM', KEYS[3], id)
    redis.call('ZREM', KEYS[4], id)
    unknown, trimmed = unknown - 1, trimmed + 1
  end
  return unknown
end

-- What every script tells besides: {UNKNOWN entries, forgotten ones, when this ledger began}
local function tracked() return {count(), trimmed, redis.call('GET', KEYS[5]) or ''} end
