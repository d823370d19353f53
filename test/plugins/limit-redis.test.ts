import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { bodyText, makeEnv, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { limitConn } from "../../src/plugins/limit-conn.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { limitReq } from "../../src/plugins/limit-req.ts";
import { slack } from "../support/long-run.ts";
import { freePort } from "../support/ports.ts";
import { temporaryFolder, until } from "../support/process.ts";
import { askRedis, hasRedis, type RedisServer, startRedis } from "../support/redis.ts";

let server: RedisServer;
const opened: PluginPhases[] = [];
const servers: RedisServer[] = [];

/** Ended with the suite, whatever its tests do. */
async function start(...args: Parameters<typeof startRedis>): Promise<RedisServer> {
  const started = await startRedis(...args);
  servers.push(started);
  return started;
}

async function ask(phases: PluginPhases): Promise<number> {
  return (await phases.access?.(makeView()))?.status ?? 200;
}

describe.skipIf(!hasRedis)("limits in redis (skipped without /usr/bin/redis-server)", () => {
  beforeAll(async () => {
    server = await start();
  });
  afterAll(async () => {
    for (const phases of opened) phases.close?.();
    for (const one of servers) await one.stop();
  });

  const compile = (env: TestEnv, plugin: typeof limitCount, conf: object, port = server.port): PluginPhases => {
    const backend = { policy: "redis", redis_host: "127.0.0.1", redis_port: port, rejected_code: 429 };
    const phases = env.compile(plugin, { ...backend, ...conf });
    opened.push(phases);
    return phases;
  };

  test("two nodes count one window together", async () => {
    const conf = { count: 3, time_window: 60, key: "together", key_type: "constant" };
    const one = compile(makeEnv(), limitCount, conf);
    const two = compile(makeEnv(), limitCount, conf);
    expect([await ask(one), await ask(two), await ask(one), await ask(two), await ask(one)]).toEqual([
      200, 200, 200, 429, 429,
    ]);
    const view = makeView();
    await one.access?.(view);
    const response = makeResponse();
    one.headerFilter?.(view, response);
    expect([response.headers.get("x-ratelimit-limit"), response.headers.get("x-ratelimit-remaining")]).toEqual([
      "3",
      "0",
    ]);
    expect(Number(response.headers.get("x-ratelimit-reset"))).toBeGreaterThan(50);
  });

  test("a database that the server has is used, one that it has not is an error and never database 0", async () => {
    const conf = { count: 1, time_window: 60, key: "databases", key_type: "constant" };
    const good = compile(makeEnv(), limitCount, { ...conf, redis_database: 3 });
    expect([await ask(good), await ask(good)]).toEqual([200, 429]);
    expect(await askRedis(server.port, "INFO keyspace")).toContain("db3:keys=1");
    const bad = compile(makeEnv(), limitCount, { ...conf, redis_database: 999_999 });
    expect([await ask(bad), await ask(bad)]).toEqual([500, 500]);
    const degraded = { ...conf, redis_database: 999_999, allow_degradation: true };
    expect(await ask(compile(makeEnv(), limitCount, degraded))).toBe(200);
  });

  test("a sliding window in redis is that of one node", async () => {
    const env = makeEnv();
    env.clock.advance(60_000 - (env.clock.nowMs() % 60_000));
    const conf = { count: 4, time_window: 60, window_type: "sliding", key: "sliding", key_type: "constant" };
    const phases = compile(env, limitCount, conf);
    const seen: number[] = [];
    for (let i = 0; i < 5; i++) seen.push(await ask(phases));
    env.clock.advance(90_000);
    for (let i = 0; i < 3; i++) seen.push(await ask(phases));
    expect(seen).toEqual([200, 200, 200, 200, 429, 200, 200, 429]);
  });

  test("a leaky bucket is shared", async () => {
    const env = makeEnv();
    const conf = { rate: 1, burst: 1, key: "server_port", nodelay: true };
    const one = compile(env, limitReq, conf);
    const two = compile(env, limitReq, conf);
    expect([await ask(one), await ask(two), await ask(one)]).toEqual([200, 200, 429]);
    env.clock.advance(1000);
    expect(await ask(two)).toBe(200);
  });

  test("requests under way are counted together and counted out", async () => {
    const env = makeEnv();
    const phases = compile(env, limitConn, { conn: 1, burst: 0, default_conn_delay: 0.1, key: "server_addr" });
    const view = makeView();
    expect(await phases.access?.(view)).toBeUndefined();
    expect(await ask(phases)).toBe(429);
    phases.log?.(view);
    phases.log?.(view);
    const again = makeView();
    await until("the place is free again", async () => (await phases.access?.(again)) === undefined);
    phases.log?.(again);
  });

  test("one connection serves all configurations, and ends with the last", async () => {
    const before = await clients(server.port);
    const env = makeEnv();
    const made = [1, 2, 3].map((count) => compile(env, limitCount, { count, time_window: 60, redis_database: 3 }));
    for (const phases of made) await ask(phases);
    expect(await clients(server.port)).toBe(before + 1);
    for (const phases of made) phases.close?.();
    await until("the connection is closed", async () => (await clients(server.port)) === before);
    expect(env.heldStates).toBe(0);
  });

  test("a redis that is away fails fast, or lets through, and is found again", async () => {
    const port = await freePort();
    const env = makeEnv();
    const closed = compile(env, limitCount, { count: 1, time_window: 60 }, port);
    const open = compile(env, limitCount, { count: 1, time_window: 60, allow_degradation: true }, port);
    const answer = await closed.access?.(makeView());
    expect([answer?.status, bodyText(answer)]).toEqual([500, '{"error_msg":"failed to limit count"}\n']);
    expect(await ask(open)).toBe(200);
    const started = performance.now();
    for (let i = 0; i < 100; i++) await ask(closed);
    expect(performance.now() - started).toBeLessThan(slack(1_000));
    const back = await start(port);
    await until("redis is found again", async () => (await ask(closed)) !== 500);
    expect(await ask(closed)).toBe(429);
    await back.stop();
    await until("redis is missed", async () => (await ask(closed)) === 500);
    for (const phases of [closed, open]) phases.close?.();
  });

  test("a password that is wrong is a failure, and stays out of the log", async () => {
    const guarded = await start(undefined, ["--requirepass", "right-password"]);
    const env = makeEnv();
    const wrong = compile(
      env,
      limitCount,
      { count: 1, time_window: 60, redis_password: "wrong-password" },
      guarded.port,
    );
    const right = compile(
      env,
      limitCount,
      { count: 1, time_window: 60, redis_password: "right-password" },
      guarded.port,
    );
    expect([await ask(wrong), await ask(right), await ask(right)]).toEqual([500, 200, 429]);
    expect(JSON.stringify(env.logged)).not.toMatch(/(wrong|right)-password/);
    for (const phases of [wrong, right]) phases.close?.();
    await guarded.stop();
  });

  test("the nodes of a cluster share the keys of all three limits; one that is gone takes its own keys with it", async () => {
    const nodes = await Promise.all(
      ["0 5460", "5461 10922", "10923 16383"].map(async (slots) => {
        const args = [
          "--cluster-enabled",
          "yes",
          "--cluster-announce-ip",
          "127.0.0.1",
          "--cluster-node-timeout",
          "2000",
        ];
        const node = await start(undefined, [...args, "--cluster-require-full-coverage", "no"]);
        await askRedis(node.port, `CLUSTER ADDSLOTSRANGE ${slots}`);
        return node;
      }),
    );
    const [first, second, third] = nodes as [RedisServer, RedisServer, RedisServer];
    for (const { port } of [second, third]) await askRedis(first.port, `CLUSTER MEET 127.0.0.1 ${port}`);
    for (const { port } of nodes)
      await until("the cluster is ready", async () => {
        const [info, slots] = [await askRedis(port, "CLUSTER INFO"), await askRedis(port, "CLUSTER SLOTS")];
        return info.includes("cluster_state:ok") && info.includes("cluster_size:3") && slots.startsWith("*3");
      });
    const cluster = {
      policy: "redis-cluster",
      redis_cluster_nodes: [`127.0.0.1:${first.port}`],
      redis_cluster_name: "test",
      key: "arg_id",
      rejected_code: 429,
    };
    const env = makeEnv();
    const compileOn = (plugin: typeof limitCount, conf: object): PluginPhases => {
      const phases = env.compile(plugin, { ...cluster, ...conf });
      opened.push(phases);
      return phases;
    };
    const ids = Array.from({ length: 30 }, (_, id) => id);
    const askEach = (phases: PluginPhases): Promise<readonly number[]> =>
      Promise.all(ids.map(async (id) => (await phases.access?.(makeView({ target: `/?id=${id}` })))?.status ?? 200));
    const all = (status: number): readonly number[] => ids.map(() => status);
    const counting = compileOn(limitCount, { count: 1, time_window: 60 });
    expect([await askEach(counting), await askEach(counting)]).toEqual([all(200), all(429)]);
    for (const { port } of nodes) expect(await askRedis(port, "DBSIZE")).not.toBe(":0\r\n");
    const pouring = compileOn(limitReq, { rate: 0.01, burst: 0 });
    expect([await askEach(pouring), await askEach(pouring)]).toEqual([all(200), all(429)]);
    const entering = compileOn(limitConn, { conn: 1, burst: 0, default_conn_delay: 0.1 });
    expect([await askEach(entering), await askEach(entering)]).toEqual([all(200), all(429)]);
    expect(env.heldStates).toBe(1); // one client for all of them

    await third.stop();
    const after = await askEach(counting);
    expect([after.filter((status) => status === 429).length > 0, new Set(after)]).toEqual([true, new Set([429, 500])]);
  });

  test("a sentinel is asked where the master is", async () => {
    const folder = temporaryFolder("sentinel");
    const file = join(folder, "sentinel.conf");
    writeFileSync(file, `sentinel monitor mymaster 127.0.0.1 ${server.port} 1\n`);
    const sentinel = await start(undefined, ["--sentinel"], file);
    const conf = {
      policy: "redis-sentinel",
      redis_sentinels: [{ host: "127.0.0.1", port: sentinel.port }],
      redis_master_name: "mymaster",
      count: 1,
      time_window: 60,
      key: "sentinel",
      key_type: "constant",
      rejected_code: 429,
    };
    const phases = makeEnv().compile(limitCount, conf);
    expect([await ask(phases), await ask(phases)]).toEqual([200, 429]);
    phases.close?.();
    await sentinel.stop();
  });
});

/** Connections of plugins; the one that asks is not counted. */
async function clients(port: number): Promise<number> {
  const info = await askRedis(port, "INFO clients");
  return Number(/connected_clients:(\d+)/.exec(info)?.[1] ?? 1) - 1;
}
