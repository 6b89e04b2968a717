-- Add outcomes, unless the epoch has moved on. Also the plain read, with nothing to add.
-- ARGV[2] epoch, ARGV[3] successes, ARGV[4] failures, ARGV[5] failures since the last success of this report,
-- ARGV[6] ms that the provider asked to be left alone for since then, 0 if it did not, ARGV[7] channel
-- A wait asked for before a success is over with it: the provider answers.
-- The first failure of a run is told to all, so that they tell their successes at once while it lasts.
-- Returns view()
local successes, failures = tonumber(ARGV[3]), tonumber(ARGV[4])
if successes + failures > 0 and epoch() == tonumber(ARGV[2]) then
  local bucket, first = math.floor(now / width), successes > 0 and tonumber(ARGV[5]) > 0
  redis.call('HINCRBY', KEYS[2], bucket .. ':c', successes + failures)
  if failures > 0 then redis.call('HINCRBY', KEYS[2], bucket .. ':f', failures) end
  redis.call('PEXPIRE', KEYS[2], width * 11)
  if successes > 0 then
    redis.call('HSET', KEYS[1], 'run', ARGV[5], 'hold', 0)
  else
    first = redis.call('HINCRBY', KEYS[1], 'run', ARGV[5]) == tonumber(ARGV[5])
  end
  local hold = now + tonumber(ARGV[6])
  if hold > math.max(now, tonumber(redis.call('HGET', KEYS[1], 'hold') or '0')) then
    redis.call('HSET', KEYS[1], 'hold', hold)
  end
  if first then tell(ARGV[7]) end
end
return view()
