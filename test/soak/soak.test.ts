/**
 * `npm run soak -- --minutes N`: a small cluster for N minutes under mixed traffic on both lanes, changes and faults.
 * Nothing may fail but what a killed worker held; `npm test` runs the same for a few seconds.
 */
import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { type Load, type LoadRecord, percentile, startLoad } from "../support/load.ts";
import { allowTime, bounded, numberFrom } from "../support/long-run.ts";
import { ADMIN_KEY, type Node, until } from "../support/process.ts";
import { metricsOf, sampleOf } from "../support/scrape.ts";
import { openWorld, type World } from "../support/world.ts";
import { ProcessWatch, type Watched } from "./processes.ts";
import { judge, openTunnels, records, requestOf, startUpstreams, type Tunnels, type Upstreams } from "./traffic.ts";

allowTime();

const SECONDS = numberFrom("SOAK_MINUTES", 5 / 60) * 60;
const FAULT_EVERY_MS = bounded(1_000, 15_000);
const SAMPLE_EVERY_MS = bounded(500, 5_000);
const CHANGE_EVERY_MS = 500;
/** A request that was on its way, or was sent on a connection of a worker, when that was killed. */
const KILL_WINDOW_MS = 1_000;
const KEPT = 200_000;

let world: World;
let upstreams: Upstreams;
let load: Load;
let tunnels: Tunnels;
/** When a worker of a gateway was killed. */
const kills: { readonly gateway: string; readonly atMs: number }[] = [];
const faults = new Map<string, number>();
let state = numberFrom("SEED", 1);

/** Seeded, so that a run can be repeated. */
function random(below: number): number {
  state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
  return Math.floor((state / 2_147_483_648) * below);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const isKilled = (gateway: string, fromMs: number, toMs: number): boolean =>
  kills.some((kill) => kill.gateway === gateway && fromMs <= kill.atMs + KILL_WINDOW_MS && toMs >= kill.atMs);

const FAULTS: Readonly<Record<string, () => Promise<unknown>>> = {
  "etcd member killed": async () => {
    const member = random(3);
    await world.etcd.kill(member);
    await pause(bounded(300, 3_000));
    await world.etcd.restart(member);
  },
  "etcd member paused": async () => {
    const member = random(3);
    world.etcd.pause(member);
    await pause(bounded(500, 5_000));
    world.etcd.resume(member);
  },
  "worker killed": async () => {
    const gateway = world.gateways[random(world.gateways.length)] as Node;
    const [first = 0] = await servingOf(gateway);
    kills.push({ gateway: gateway.gateway, atMs: performance.now() });
    process.kill(first, "SIGKILL");
    await until(
      "the worker is replaced",
      async () => {
        const now = await servingOf(gateway);
        return now.length === 2 && !now.includes(first);
      },
      60_000,
    );
  },
  "admin killed and started": () => world.restartAdmin(0),
};

describe.skipIf(!etcdAvailable() || !existsSync("/proc/self/fd"))("a small cluster that is left alone", () => {
  beforeAll(async () => {
    upstreams = await startUpstreams();
    world = await openWorld({
      members: 3,
      gateways: 2,
      workers: 2,
      rate: 0,
      writeEveryMs: bounded(100, 200),
      argsOf: (i) => (i === 0 ? [] : ["--fast-lane", "off"]), // the other lane
    });
    for (const [path, body] of records(upstreams)) await rewrite(path, body, true);
    await world.inStep();
    for (const { gateway } of world.gateways)
      await until("all routes", async () => (await fetch(`${gateway}/mocked/first`)).ok);
  });

  afterAll(async () => {
    await tunnels?.stop();
    await load?.stop();
    await world?.close();
    await upstreams?.stop();
  });

  test(`G1 G3 G5 G10: ${SECONDS.toFixed(0)} s of traffic, changes and faults`, async () => {
    const origins = world.gateways.map(({ gateway }) => gateway);
    load = startLoad({
      targets: origins.map((origin) => ({ name: origin, origin })),
      rate: bounded(60, 150),
      request: requestOf,
      judge,
      hangMs: 30_000,
      keep: KEPT,
      excuse: ({ target, dueMs, tookMs, status, wrong }) =>
        (status === 0 || wrong?.startsWith("broken") === true) && isKilled(target, dueMs, dueMs + tookMs),
    });
    tunnels = openTunnels([...origins, ...origins, ...origins], isKilled);
    const watch = new ProcessWatch();
    const startMs = performance.now();
    const endMs = startMs + SECONDS * 1_000;
    const breaking = breakThings(endMs);
    const changing = changeThings(endMs);
    let told = 0;
    let shown = 0;
    while (performance.now() < endMs) {
      watch.sample(watched());
      const minutes = Math.floor((performance.now() - startMs) / 60_000);
      if (minutes > told) {
        told = minutes;
        const counts = `${load.sent} sent, ${load.failed} failed, ${load.excused} broken by killed workers`;
        process.stdout.write(`after ${minutes} min: ${counts}\n`);
        for (const failure of load.failures.slice(shown, shown + 5)) process.stdout.write(`  ${say(failure)}\n`);
        shown = load.failures.length;
      }
      await pause(SAMPLE_EVERY_MS);
    }
    await Promise.all([breaking, changing]);
    await tunnels.stop();
    await load.stop();
    await pause(bounded(0, 10_000)); // what is closed late
    watch.sample(watched());
    const lanes = await Promise.all(world.gateways.map(metricsOf));
    const laneOf = (lane: string): number =>
      lanes.reduce((sum, text) => sum + (sampleOf(text, "jotgate_lane_requests_total", `lane="${lane}"`) ?? 0), 0);
    const wrong = await world.judge();
    const errors = [...load.failures.map(say), ...tunnels.errors, ...wrong];
    const took = load.records.map(({ tookMs }) => tookMs);
    const lines = [
      `soak: ${SECONDS.toFixed(0)} s, ${load.sent} requests (p50 ${percentile(took, 0.5).toFixed(1)}, p99 ${percentile(took, 0.99).toFixed(1)} ms), ${tunnels.echoes} WebSocket echoes, ${world.ledger.done} of ${world.ledger.entries.length} writes done`,
      `lanes at the end, since their workers' start: fast ${laneOf("fast")}, general ${laneOf("general")}`,
      `faults: ${[...faults].map(([name, count]) => `${name} ${count}x`).join(", ")}`,
      `broken by ${kills.length} killed workers: ${load.excused} requests, ${tunnels.excused} WebSockets`,
      ...watch.lines(),
      ...errors.slice(0, 20),
      `errors: ${errors.length}`,
    ];
    process.stdout.write(`\n${lines.join("\n")}\n`);
    expect(errors).toEqual([]);
    expect(load.failed).toBe(0);
    expect(load.sent).toBeGreaterThan(SECONDS); // it did run
    expect(tunnels.echoes).toBeGreaterThan(3);
    expect([...faults.keys()].length).toBeGreaterThan(1);
  });
});

/** The processes that answer. */
async function servingOf({ status }: Node): Promise<number[]> {
  const answer = await fetch(`${status}/status`, { headers: { Accept: "application/json" } });
  const { workers } = (await answer.json()) as { workers: readonly { pid: number; state: string }[] };
  return workers.filter(({ state: now }) => now === "serving").map(({ pid }) => pid);
}

/** Which request it was, when after the start of the last kill at its gateway, and what was wrong. */
function say({ target, n, dueMs, tookMs, wrong }: LoadRecord): string {
  const last = kills.findLast(({ gateway, atMs }) => gateway === target && atMs <= dueMs + tookMs);
  const since =
    last === undefined ? "no worker killed before" : `due ${(dueMs - last.atMs).toFixed(0)} ms after a kill`;
  const { method = "GET", path } = requestOf(n);
  return `${target} ${method} ${path}, ${since}, after ${tookMs.toFixed(0)} ms: ${wrong}`;
}

function watched(): Watched[] {
  return [
    ...world.gateways.map(({ pid }, i) => ({ name: `gateway ${i} ${i === 0 ? "fast" : "general"} lane`, pid })),
    ...world.admins.map(({ pid }) => ({ name: "admin", pid })),
  ];
}

/** One fault after the other, each kind before any comes again. */
async function breakThings(endMs: number): Promise<void> {
  let left: string[] = [];
  while (performance.now() + FAULT_EVERY_MS < endMs) {
    await pause(FAULT_EVERY_MS);
    if (left.length === 0) left = Object.keys(FAULTS);
    const [name = ""] = left.splice(random(left.length), 1);
    await FAULTS[name]?.();
    faults.set(name, (faults.get(name) ?? 0) + 1);
  }
}

/** Writes the records that the traffic depends on again and again, each time a little different. */
async function changeThings(endMs: number): Promise<void> {
  for (let i = 0; performance.now() < endMs; i++) {
    const all = records(upstreams);
    const [path, body] = all[i % all.length] ?? ["", {}];
    await rewrite(path, { ...body, labels: { i: `${i}` } }, false);
    await pause(CHANGE_EVERY_MS);
  }
}

async function rewrite(path: string, body: object, mustSucceed: boolean): Promise<void> {
  const admin = world.admins[0] as Node;
  if (path === "/consumers") {
    const answer = await fetch(`${admin.admin}/apisix/admin${path}`, {
      method: "PUT",
      headers: { "X-API-KEY": ADMIN_KEY },
      body: JSON.stringify(body),
    }).catch(() => undefined); // an admin that was killed
    if (mustSucceed) expect(answer?.ok).toBe(true);
    return;
  }
  const entry = await world.ledger.write(admin, "put", path, body as Readonly<Record<string, unknown>>);
  if (mustSucceed) expect(entry.outcome, entry.text).toBe("done");
}
