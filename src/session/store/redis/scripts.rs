//! What Redis does in one go. Each script's keys share a slot, and each may be asked twice with the same result: the
//! way to Redis repeats what may have been lost.

/// Keeps a session. KEYS: session. ARGV: seconds to live, then fields and values.
pub(super) const INSERT: &str = "
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1";

/// Puts a session into an index; gives those that are too many, which end first. KEYS: index. ARGV: now, the session's
/// end, its id, how many there may be.
pub(super) const INDEX: &str = "
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
if last then redis.call('EXPIRE', KEYS[1], math.max(1, last - ARGV[1])) end
local over = redis.call('ZCARD', KEYS[1]) - ARGV[4]
if over <= 0 then return {} end
return redis.call('ZRANGE', KEYS[1], 0, over - 1)";

/// Reads fields of a session, none if it was ended. KEYS: session, ended. ARGV: fields.
pub(super) const READ: &str = "
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('DEL', KEYS[1])
  return {}
end
return redis.call('HMGET', KEYS[1], unpack(ARGV))";

/// Notes a use, unless a later one is known. KEYS: session, ended. ARGV: when, when it ends now, seconds to live, now.
pub(super) const TOUCH: &str = "
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('DEL', KEYS[1])
  return 0
end
local known = redis.call('HMGET', KEYS[1], 'seen', 'expires')
if not known[1] or tonumber(known[1]) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'seen', ARGV[1], 'ends', ARGV[2])
redis.call('EXPIRE', KEYS[1], math.max(1, math.min(ARGV[3], known[2] - ARGV[4])))
return 1";

/// Replaces what a renewal changes. KEYS: session, ended. ARGV: latest end, seconds until then, record, refresh token
/// or nothing.
pub(super) const UPDATE: &str = "
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('DEL', KEYS[1])
  return 0
end
local ends = redis.call('HMGET', KEYS[1], 'expires', 'ends')
if not ends[1] then return 0 end
redis.call('HSET', KEYS[1], 'record', ARGV[3],
  'expires', math.min(ends[1], ARGV[1]), 'ends', math.min(ends[2], ARGV[1]))
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], 'refresh')
else
  redis.call('HSET', KEYS[1], 'refresh', ARGV[4])
end
if redis.call('TTL', KEYS[1]) > tonumber(ARGV[2]) then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return 1";

/// Ends a session, and leaves word of it as far as there is memory; says whether it was there, in which indexes, and
/// how many replicas there are. KEYS: session, ended. ARGV: who ends it, seconds that the word is kept.
pub(super) const END: &str = "
local index = redis.call('HMGET', KEYS[1], 'sub', 'sid')
local there = redis.call('DEL', KEYS[1])
if there == 0 and redis.call('GET', KEYS[2]) == ARGV[1] then there = 1 end
redis.pcall('SET', KEYS[2], ARGV[1], 'EX', ARGV[2])
local told = redis.pcall('INFO', 'replication')
local replicas = type(told) == 'string' and tonumber(string.match(told, 'connected_slaves:(%d+)')) or 1
return {there, replicas, index[1], index[2]}";

/// Uses up an attempt. KEYS: attempt. ARGV: who, seconds that it is remembered.
pub(super) const USE_ATTEMPT: &str = "
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return 1 end
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0";

/// Replaces a user's record if it is still the one that was read. KEYS: user. ARGV: the record read, the new one; empty
/// where there is none.
pub(super) const CHANGE_USER: &str = "
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[2] then return 1 end
if now ~= ARGV[1] then return 0 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1";

/// Takes the turn to renew a session, or makes it last longer. KEYS: renewing. ARGV: who, milliseconds that it lasts.
pub(super) const TAKE_TURN: &str = "
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1";

/// Gives it back. KEYS: renewing. ARGV: who.
pub(super) const GIVE_TURN_BACK: &str = "
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1";
