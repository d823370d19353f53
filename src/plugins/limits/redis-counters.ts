/**
 * Counters kept in redis, so that all nodes count together. Each hit is one atomic script on one key,
 * which works on a cluster too.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Admission, BucketUse, Counters, WindowUse } from "../../plugin/counters.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { makeUuid } from "../request-id.ts";
import { slide } from "./local-counters.ts";
import { holdRedis, type RedisClient, type RedisConf, redisScript } from "./redis.ts";

/** @param ttlSeconds how long a request that never left is counted */
export function openRedisCounters(conf: RedisConf, env: NodeEnv, ttlSeconds = 3600): Counters {
  const keyOf = (scope: string, key: string): string => `jotgate:${scope}:${key}`;
  return {
    windows(scope) {
      const redis = holdRedis(conf, env);
      return {
        hit(key, rule, cost) {
          const name = keyOf(scope, key);
          const nowMs = env.clock.nowMs();
          if (!rule.sliding) return countFixed(redis, name, rule.limit, rule.windowMs, cost);
          return redis
            .run(SLIDE, name, [
              Math.floor(nowMs / rule.windowMs),
              cost,
              rule.limit,
              rule.windowMs,
              nowMs % rule.windowMs,
            ])
            .then((reply) => {
              const [before, used] = numbersOf(reply);
              return slide(used, before, rule, cost, nowMs);
            });
        },
        release: redis.release,
      };
    },
    buckets(scope) {
      const redis = holdRedis(conf, env);
      return {
        async pour(key, { perSecond, burst }): Promise<BucketUse> {
          const args = [perSecond, burst, env.clock.nowMs(), Math.ceil((burst + 1) / perSecond) + 1];
          const [allowed, excess] = numbersOf(await redis.run(POUR, keyOf(scope, key), args));
          return { allowed: allowed === 1, delayMs: (excess / perSecond) * 1000 };
        },
        release: redis.release,
      };
    },
    concurrency(scope) {
      const redis = holdRedis(conf, env);
      return {
        enter: (key, most) => enter(redis, keyOf(scope, key), most, ttlSeconds, env.clock, env.log),
        release: redis.release,
      };
    },
  };
}

const COUNT = redisScript(`
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
local ttl = redis.call('PTTL', KEYS[1])
if ttl < 0 then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  ttl = tonumber(ARGV[2])
end
return {used, ttl}`);

async function countFixed(
  redis: RedisClient,
  key: string,
  limit: number,
  windowMs: number,
  cost: number,
): Promise<WindowUse> {
  const [used, resetMs] = numbersOf(await redis.run(COUNT, key, [cost, windowMs]));
  return { allowed: used <= limit, remaining: Math.max(0, limit - used), resetMs };
}

/** Gives what the window before and this one had before the hit; `slide` draws the same conclusion from that. */
const SLIDE = redisScript(`
local at, cost, limit, window, past = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known = redis.call('HMGET', KEYS[1], 'at', 'used', 'before')
local used, before = 0, 0
if tonumber(known[1]) == at then used, before = tonumber(known[2]), tonumber(known[3])
elseif tonumber(known[1]) == at - 1 then before = tonumber(known[2]) end
local estimated = math.min(before, limit) / window * (window - past) + used
if used < limit and estimated < limit then
  redis.call('HSET', KEYS[1], 'at', at, 'used', used + cost, 'before', before)
  redis.call('PEXPIRE', KEYS[1], window * 2)
end
return {before, used}`);

const POUR = redisScript(`
local rate, burst, now = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'excess', 'last')
local excess = 0
if known[1] then excess = math.max(tonumber(known[1]) - rate * math.abs(now - tonumber(known[2])) / 1000 + 1, 0) end
if excess > burst then return {'0', tostring(excess)} end
redis.call('HSET', KEYS[1], 'excess', tostring(excess), 'last', now)
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'1', tostring(excess)}`);

const ENTER = redisScript(`
local most, now, ttl = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now)
local count = redis.call('ZCARD', KEYS[1])
if count >= most then return 0 end
redis.call('ZADD', KEYS[1], now + ttl, ARGV[4])
redis.call('EXPIRE', KEYS[1], ttl)
return count + 1`);

const LEAVE = redisScript(`return redis.call('ZREM', KEYS[1], ARGV[1])`);

async function enter(
  redis: RedisClient,
  key: string,
  most: number,
  ttlSeconds: number,
  clock: Clock,
  log: Log,
): Promise<Admission | undefined> {
  const id = makeUuid();
  const count = Number(await redis.run(ENTER, key, [most, Math.floor(clock.nowMs() / 1000), ttlSeconds, id]));
  if (count === 0) return undefined;
  let left = false;
  return {
    count,
    leave() {
      if (left) return;
      left = true;
      // The request is over: nobody waits, and an entry that stays ends by its time.
      redis.run(LEAVE, key, [id]).catch((error: unknown) => {
        log.warn({ error: messageOf(error) }, "a request could not be taken off a limit in redis");
      });
    },
  };
}

/** Scripts answer a list of numbers, as integers or as texts. */
function numbersOf(reply: unknown): [number, number] {
  const [first, second] = Array.isArray(reply) ? reply : [];
  return [Number(first), Number(second)];
}
