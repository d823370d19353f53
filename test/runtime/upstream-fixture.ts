/** Upstreams on a hand-moved clock, with a scripted DNS and a scripted prober: what sockets would say, said by the test. */
import type { Clock } from "../../src/base/clock.ts";
import type { DnsAnswer } from "../../src/base/net/dns-lookup.ts";
import type { Siblings, StateRegistry } from "../../src/plugin/plugin.ts";
import { makeEnv, metricValue } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { openDns } from "../../src/runtime/upstream/dns/dns.ts";
import type { ProbeConf } from "../../src/runtime/upstream/health/health-conf.ts";
import type { ProbeOutcome, ProbeTarget } from "../../src/runtime/upstream/health/node-health.ts";
import type { LiveUpstreamUnit, UpstreamIds } from "../../src/runtime/upstream/live-upstream-unit.ts";
import type { UpstreamRecord } from "../../src/runtime/upstream/upstream-record.ts";
import type { AttemptOutcome, Attempts, Target, UpstreamUnit } from "../../src/runtime/upstream/upstream-unit.ts";
import { openUpstreams } from "../../src/runtime/upstream/upstreams.ts";

export const OK: AttemptOutcome = { kind: "response", status: 200, latencyMs: 1 };

export interface AskedProbe {
  readonly target: ProbeTarget;
  readonly conf: ProbeConf;
  readonly signal: AbortSignal;
}

/** One process's upstreams. `dns.answers` and `prober.outcome` may be changed at any time. */
export function openBench(seed = 1, openOwnStates?: (clock: Clock) => StateRegistry, siblings?: Siblings) {
  const env = makeEnv();
  const states = openOwnStates?.(env.clock) ?? env.states;
  const random = makeRandom(seed);
  const clock = env.clock;
  const script = {
    answers: new Map<string, DnsAnswer | Error | Promise<DnsAnswer>>(),
    lookups: [] as string[],
    outcome: (_target: ProbeTarget): ProbeOutcome | Promise<ProbeOutcome> => ({ kind: "status", status: 200 }),
    probes: [] as AskedProbe[],
    certificates: new Map<string, { cert: string; key: string }>(),
    certificate: (id: string): { cert: string; key: string } | string => script.certificates.get(id) ?? "none",
  };
  const dns = openDns({
    clock,
    log: env.log,
    metrics: env.metrics,
    random,
    async lookup(name) {
      script.lookups.push(name);
      const answer = await script.answers.get(name);
      if (answer === undefined) throw new Error(`queryA ENOTFOUND ${name}`);
      if (answer instanceof Error) throw answer;
      return answer;
    },
  });
  const upstreams = openUpstreams({
    clock,
    log: env.log,
    metrics: env.metrics,
    states,
    dns,
    random,
    siblings,
    certificate: (id) => script.certificate(id),
    async probe(target, conf, signal) {
      script.probes.push({ target, conf, signal });
      return await script.outcome(target);
    },
  });
  return {
    clock,
    script,
    dns,
    upstreams,
    logged: env.logged,
    metrics: env.metrics,
    heldStates: () => env.heldStates,
    metric: (name: string, labels?: Record<string, string>) => metricValue(env, name, labels),
    // True enough: a record comes from the store, where anything may stand.
    compile: (record: object, ids: Partial<UpstreamIds> = {}): LiveUpstreamUnit =>
      upstreams.compile(record as UpstreamRecord, { key: "/apisix/upstreams/1", id: "1", name: "one", ...ids }),
    /** Moves time in steps, letting promises settle between them. */
    async pass(ms: number, stepMs = 100): Promise<void> {
      for (let left = ms; left > 0; left -= stepMs) {
        clock.advance(Math.min(stepMs, left));
        await settle();
      }
    },
  };
}

export type Bench = ReturnType<typeof openBench>;

export function begin(unit: UpstreamUnit, view: ViewInput = {}): Attempts {
  const attempts = unit.start(makeView(view));
  if (!attempts) throw new TypeError("the upstream has no usable node");
  return attempts;
}

/** Where one request goes when nothing has to be waited for. */
export function next(attempts: Attempts): Target | undefined {
  const target = attempts.next();
  if (target instanceof Promise) throw new TypeError("a name has to be looked up first");
  return target;
}

/** The id of the target of one request that ends well. */
export function serve(unit: UpstreamUnit, view: ViewInput = {}): string | undefined {
  const attempts = begin(unit, view);
  const target = next(attempts);
  attempts.report(OK);
  return target?.id;
}

/** The same, waiting for names. */
export async function serveSoon(unit: UpstreamUnit): Promise<Target | undefined> {
  const attempts = begin(unit);
  const target = await attempts.next();
  attempts.report(OK);
  return target;
}

/** Target ids in the order in which one request tries them, all refused. */
export function failover(unit: UpstreamUnit, view: ViewInput = {}): string[] {
  const attempts = begin(unit, view);
  const ids: string[] = [];
  for (let target = next(attempts); target; target = next(attempts)) {
    ids.push(target.id);
    attempts.report({ kind: "refused" });
  }
  return ids;
}

/** How often each target got one of `count` requests. */
export function tally(unit: UpstreamUnit, count: number, view: (n: number) => ViewInput = () => ({})) {
  const counts: Record<string, number> = {};
  for (let n = 0; n < count; n++) {
    const id = serve(unit, view(n)) ?? "none";
    counts[id] = (counts[id] ?? 0) + 1;
  }
  return counts;
}

/** Lets everything happen that waits for promises only. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** A small seeded generator (mulberry32), so that a failing run can be repeated. */
export function makeRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
