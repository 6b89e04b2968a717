-- Give a probe's place back; a passed probe counts if its lease still held. Everybody is told that a place is free.
-- ARGV[2] epoch, ARGV[3] owner, ARGV[4] passed 0 or 1, ARGV[5] channel
-- Returns view()
if epoch() == tonumber(ARGV[2]) then
  local expires = redis.call('ZSCORE', KEYS[3], ARGV[3])
  redis.call('ZREM', KEYS[3], ARGV[3])
  if expires and tonumber(expires) > now and ARGV[4] == '1' then
    redis.call('HINCRBY', KEYS[1], 'passes', 1)
  end
  tell(ARGV[5])
end
return view()
