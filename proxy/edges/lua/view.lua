-- Prepended to every other script here.
-- KEYS[1] hash: epoch, record (JSON, opaque), run (failures since the last success), passes (probes passed),
--         hold (ms: the provider asked not to be called before)
-- KEYS[2] hash: <bucket>:c and <bucket>:f, calls and failures per time bucket, of the current epoch
-- KEYS[3] zset: probe leases, owner by expiry in ms
-- ARGV[1] window in ms, divided into 10 buckets
-- Mechanism only: whether to trip, and what a record means, is decided in Python.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local width = math.max(1, math.floor(ARGV[1] / 10))

-- What is no number fails the script, which its reader takes for this upstream's trouble and not for the store's.
local function number(text)
  return tonumber(text or '0') or error('not a number')
end

local function epoch()
  return number(redis.call('HGET', KEYS[1], 'epoch'))
end

-- Returns {epoch, record or '', run, passes, calls, failures, now_ms, hold_ms}; buckets past the window are dropped.
local function view()
  local head = redis.call('HMGET', KEYS[1], 'epoch', 'record', 'run', 'passes', 'hold')
  local calls, failures, first = 0, 0, math.floor(now / width) - 9
  local buckets = redis.call('HGETALL', KEYS[2])
  for i = 1, #buckets, 2 do
    local bucket, kind = string.match(buckets[i], '^(%d+):(%a)$')
    if tonumber(bucket) < first then
      redis.call('HDEL', KEYS[2], buckets[i])
    elseif kind == 'c' then
      calls = calls + number(buckets[i + 1])
    else
      failures = failures + number(buckets[i + 1])
    end
  end
  local run, passes, hold = number(head[3]), number(head[4]), number(head[5])
  return {number(head[1]), head[2] or '', run, passes, calls, failures, now, hold}
end

-- Starts a new epoch: no counts, no leases, and everybody is told.
local function start(new_epoch, record)
  redis.call('HSET', KEYS[1], 'epoch', new_epoch, 'record', record, 'run', 0, 'passes', 0, 'hold', 0)
  redis.call('DEL', KEYS[2], KEYS[3])
end

local function tell(channel)
  redis.call('PUBLISH', channel, cjson.encode(view()))
end
