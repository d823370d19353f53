/**
 * Where a configuration has DPoP proofs remembered: in each node, or in a redis for all nodes that ask it.
 * Source: docs/spec/tokens.md section 8; members as those of the limits.
 */
import { Type } from "typebox";
import { Defaulted } from "../../plugin/plugin.ts";
import type { RedisConf } from "../limits/redis.ts";
import { Words } from "./schema-parts.ts";

/** Members of a plugin's schema. */
export const ReplayMembers = {
  dpop_replay: Defaulted(Words(["node", "redis"], { default: "node" })),
  redis_host: Type.Optional(Type.String({ minLength: 2 })),
  redis_port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65_535 })),
  redis_username: Type.Optional(Type.String({ minLength: 1 })),
  redis_password: Type.Optional(Type.String()),
  redis_database: Type.Optional(Type.Integer({ minimum: 0 })),
  redis_timeout: Type.Optional(Type.Integer({ minimum: 1 })),
  redis_ssl: Type.Optional(Type.Boolean()),
  redis_ssl_verify: Type.Optional(Type.Boolean()),
} as const;

export const REPLAY_SECRETS = ["redis_password"] as const;

export type ReplayConf = { readonly dpop_replay: "node" | "redis" } & Omit<RedisConf, "policy">;

/** @returns the error's text */
export function replayError(conf: ReplayConf): string | undefined {
  const [stray] = Object.keys(conf).filter((name) => name.startsWith("redis_"));
  if (conf.dpop_replay === "redis") return conf.redis_host === undefined ? NO_HOST : undefined;
  return stray && `${stray} is of no use without dpop_replay: "redis"`;
}

const NO_HOST = 'dpop_replay: "redis" needs redis_host';

/** @returns undefined: none is asked */
export function redisOf(conf: ReplayConf): RedisConf | undefined {
  if (conf.dpop_replay !== "redis") return undefined;
  const members = Object.entries(conf).filter(([name]) => name.startsWith("redis_"));
  // The limits leave it unverified as APISIX does; proofs are remembered by nobody unknown.
  return { redis_ssl_verify: true, ...Object.fromEntries(members), policy: "redis" };
}
