-- A probe's place: install the record first if it is newer, then take one of `limit` places for `ttl` ms.
-- ARGV[2] expected epoch, ARGV[3] record's epoch, ARGV[4] record, ARGV[5] channel, ARGV[6] owner, ARGV[7] limit, ARGV[8] ttl
-- Returns {granted 0 or 1, ms until a place may be free, view()}
local expected, new = tonumber(ARGV[2]), tonumber(ARGV[3])
if epoch() ~= expected then return {0, 0, view()} end
if new > expected then
  start(new, ARGV[4])
  tell(ARGV[5])
end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[7]) then
  local first = redis.call('ZRANGE', KEYS[3], 0, 0, 'WITHSCORES')
  return {0, tonumber(first[2]) - now, view()}
end
redis.call('ZADD', KEYS[3], now + ARGV[8], ARGV[6])
redis.call('PEXPIRE', KEYS[3], ARGV[8] * 2)
return {1, 0, view()}
