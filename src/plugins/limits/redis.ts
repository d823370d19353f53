/**
 * Connections to redis for limits: one per distinct settings on a node, shared by all configurations that name it.
 * Promise: while redis is away commands fail at once, and it is tried again in the background with growing pauses.
 */
import { createHash } from "node:crypto";
import type { Cluster, Redis } from "ioredis";
import { CodedError, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { library } from "../shared/library.ts";
import { confHash } from "../shared/schema-parts.ts";

/** Members of a configuration that say which redis; which of them are there depends on `policy`. */
export interface RedisConf {
  readonly policy: "redis" | "redis-cluster" | "redis-sentinel";
  readonly redis_host?: string;
  readonly redis_port?: number;
  readonly redis_username?: string;
  readonly redis_password?: string;
  readonly redis_database?: number;
  readonly redis_timeout?: number;
  readonly redis_ssl?: boolean;
  readonly redis_ssl_verify?: boolean;
  readonly redis_cluster_nodes?: readonly string[];
  readonly redis_cluster_name?: string;
  readonly redis_cluster_ssl?: boolean;
  readonly redis_cluster_ssl_verify?: boolean;
  readonly redis_sentinels?: readonly { readonly host: string; readonly port: number }[];
  readonly redis_master_name?: string;
  readonly redis_role?: "master" | "slave";
  readonly redis_connect_timeout?: number;
  readonly redis_read_timeout?: number;
  readonly sentinel_username?: string;
  readonly sentinel_password?: string;
}

/** A script with one key, known to redis by its hash. */
interface RedisScript {
  readonly lua: string;
  readonly sha1: string;
}

export function redisScript(lua: string): RedisScript {
  return Object.freeze({ lua, sha1: createHash("sha1").update(lua).digest("hex") });
}

export interface RedisClient {
  /** Runs a script on one key. Rejects with a CodedError when redis is away, slow or says no. */
  run(script: RedisScript, key: string, args: readonly (string | number)[]): Promise<unknown>;
  release(): void;
}

export function holdRedis(conf: RedisConf, env: NodeEnv): RedisClient {
  const facts = pickFacts(conf);
  const held = env.states.hold(
    `redis:${confHash(facts)}`,
    () => new Connection(conf, env.log),
    (connection) => connection.close(),
  );
  return { run: (script, key, args) => held.state.run(script, key, args), release: held.release };
}

/** Only what makes another connection, so that limits of different counts share one. */
function pickFacts(conf: RedisConf): object {
  return Object.fromEntries(
    Object.entries(conf).filter(([name]) => name === "policy" || /^(redis|sentinel)_/.test(name)),
  );
}

const RETRY_FIRST_MS = 50;
const RETRY_MOST_MS = 2000; // how late a redis that came back may be noticed
const DEFAULT_PORT = 6379;
const DEFAULT_TIMEOUT_MS = 1000;

class Connection {
  readonly #client: Redis | Cluster;
  readonly #log: Log;
  readonly #database: number;
  #isDown = false;
  /** Whether this very connection is known to be in its database. */
  #isSelected = false;

  constructor(conf: RedisConf, log: Log) {
    this.#log = log;
    this.#database = conf.policy === "redis-cluster" ? 0 : (conf.redis_database ?? 0);
    this.#client = openClient(conf);
    this.#client.on("ready", () => {
      this.#isDown = false;
    });
    this.#client.on("close", () => {
      this.#isDown = true;
      this.#isSelected = false;
    });
    this.#client.on("error", (error: unknown) => {
      if (!this.#isDown) this.#log.error({ error: messageOf(error) }, "redis cannot be reached");
      this.#isDown = true;
    });
  }

  async run(script: RedisScript, key: string, args: readonly (string | number)[]): Promise<unknown> {
    if (this.#isDown) throw new CodedError("PLUGIN_FAILED", { message: "redis cannot be reached" });
    if (this.#database !== 0 && !this.#isSelected) await this.#select();
    try {
      return await this.#client.evalsha(script.sha1, 1, key, ...args);
    } catch (error) {
      if (!messageOf(error).startsWith("NOSCRIPT")) throw failure(error);
    }
    try {
      return await this.#client.eval(script.lua, 1, key, ...args);
    } catch (error) {
      throw failure(error);
    }
  }

  /** The library asks for the database too, but goes on in database 0 when there is no such one. */
  async #select(): Promise<void> {
    try {
      await this.#client.select(this.#database);
      this.#isSelected = true;
    } catch (error) {
      throw failure(error);
    }
  }

  close(): void {
    this.#client.disconnect();
  }
}

function failure(cause: unknown): CodedError {
  return new CodedError("PLUGIN_FAILED", { message: `redis failed: ${messageOf(cause)}`, cause });
}

function retryDelay(attempt: number): number {
  const most = Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** Math.min(attempt, 10));
  return most / 2 + (Math.random() * most) / 2;
}

function openClient(conf: RedisConf): Redis | Cluster {
  const { Cluster, Redis } = library<typeof import("ioredis")>("ioredis");
  const timeoutMs = conf.redis_timeout ?? conf.redis_read_timeout ?? DEFAULT_TIMEOUT_MS;
  const shared = {
    ...(conf.redis_username === undefined ? {} : { username: conf.redis_username }),
    ...(conf.redis_password ? { password: conf.redis_password } : {}),
    connectTimeout: conf.redis_connect_timeout ?? timeoutMs,
    commandTimeout: timeoutMs,
    maxRetriesPerRequest: 0,
  };
  switch (conf.policy) {
    case "redis":
      return new Redis({
        ...shared,
        host: conf.redis_host ?? "127.0.0.1",
        port: conf.redis_port ?? DEFAULT_PORT,
        db: conf.redis_database ?? 0,
        retryStrategy: retryDelay,
        ...(conf.redis_ssl ? { tls: { rejectUnauthorized: conf.redis_ssl_verify === true } } : {}),
      });
    case "redis-cluster":
      return new Cluster((conf.redis_cluster_nodes ?? []).map(parseNode), {
        clusterRetryStrategy: retryDelay,
        redisOptions: {
          ...shared,
          ...(conf.redis_cluster_ssl ? { tls: { rejectUnauthorized: conf.redis_cluster_ssl_verify === true } } : {}),
        },
      });
    case "redis-sentinel":
      return new Redis({
        ...shared,
        sentinels: [...(conf.redis_sentinels ?? [])],
        name: conf.redis_master_name ?? "",
        role: conf.redis_role ?? "master",
        db: conf.redis_database ?? 0,
        retryStrategy: retryDelay,
        sentinelRetryStrategy: retryDelay,
        ...(conf.sentinel_username === undefined ? {} : { sentinelUsername: conf.sentinel_username }),
        ...(conf.sentinel_password ? { sentinelPassword: conf.sentinel_password } : {}),
      });
  }
}

function parseNode(node: string): { host: string; port: number } {
  const colon = node.lastIndexOf(":");
  if (colon < 0) return { host: node, port: DEFAULT_PORT };
  return { host: node.slice(0, colon), port: Number(node.slice(colon + 1)) || DEFAULT_PORT };
}
