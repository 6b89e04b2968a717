-- Add outcomes, unless the epoch has moved on. Also the plain read, with nothing to add.
-- ARGV[2] epoch, ARGV[3] successes, ARGV[4] failures, ARGV[5] failures since the last success of this report
-- Returns view()
local successes, failures = tonumber(ARGV[3]), tonumber(ARGV[4])
if successes + failures > 0 and epoch() == tonumber(ARGV[2]) then
  local bucket = math.floor(now / width)
  redis.call('HINCRBY', KEYS[2], bucket .. ':c', successes + failures)
  if failures > 0 then redis.call('HINCRBY', KEYS[2], bucket .. ':f', failures) end
  redis.call('PEXPIRE', KEYS[2], width * 11)
  if successes > 0 then
    redis.call('HSET', KEYS[1], 'run', ARGV[5])
  else
    redis.call('HINCRBY', KEYS[1], 'run', ARGV[5])
  end
end
return view()
