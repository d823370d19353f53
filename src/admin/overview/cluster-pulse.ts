/**
 * The last hour of the cluster in numbers: every five seconds the metrics of all nodes are added up.
 * Promise: nodes are asked only while somebody looks, and for an hour after; what is kept is bounded by time; a node that is
 * away is left out and named, and cannot keep the others waiting for longer than one question may take.
 */
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { AdminAnswer } from "../admin-response.ts";
import { type AskSide, askAll, type Told } from "../ask-node.ts";
import { addTallies, type MetricsTally, quantileOf, sinceTally, tallyOf } from "./metrics-tally.ts";

const EVERY_MS = 5_000;
const KEPT = 720; // an hour
const WATCHED_MS = 3_600_000;
const METRICS_MAX = 16_777_216;
const REASONS_MAX = 8;

/** One step of the last hour; rates are per second. */
interface PulsePoint {
  /** Seconds since 1970. */
  readonly time: number;
  readonly requests: number;
  readonly failed: number;
  readonly refused: number;
  /** Refusals by reason: the most frequent ones, the rest under `other`. */
  readonly reasons: Readonly<Record<string, number>>;
  readonly p50: number | null;
  readonly p99: number | null;
}

/** Of the newest step. */
interface Pulse {
  readonly points: readonly PulsePoint[];
  /** Per second, by `2xx` and so on, by reason of refusal, by plugin and outcome. */
  readonly requests: Readonly<Record<string, number>>;
  readonly refused: Readonly<Record<string, number>>;
  readonly tokens: Readonly<Record<string, number>>;
  /** Requests per second, by node. */
  readonly nodes: ReadonlyMap<string, number>;
  /** Targets that some node takes to be unhealthy. */
  readonly unhealthy: readonly UnhealthyTarget[];
  /** Nodes that did not answer. */
  readonly silent: readonly string[];
}

interface UnhealthyTarget {
  /** Key of the record that has it checked. */
  readonly record: string;
  readonly target: string;
  readonly status: string;
  readonly nodes: readonly string[];
}

export interface ClusterPulse {
  /** Looks at once when nobody has looked for a while. */
  read(): Promise<Pulse>;
  stop(): void;
}

interface Look {
  readonly atMs: number;
  readonly tallies: ReadonlyMap<string, MetricsTally>;
}

const NOTHING: Pulse = {
  points: [],
  requests: {},
  refused: {},
  tokens: {},
  nodes: new Map(),
  unhealthy: [],
  silent: [],
};

export function openClusterPulse(side: AskSide & { readonly clock: Clock }): ClusterPulse {
  const { clock, log } = side;
  let last: Look | undefined;
  let pulse = NOTHING;
  let looking: Promise<void> | undefined;
  let timer: { cancel(): void } | undefined;
  let watchedMs = 0;

  async function look(): Promise<void> {
    const [metrics, health] = await Promise.all([
      askAll(side, { path: "/metrics", textMax: METRICS_MAX }, ({ status, body }) =>
        status === 200 && typeof body === "string" ? tallyOf(body) : undefined,
      ),
      askAll(side, { path: "/healthcheck" }),
    ]);
    const atMs = clock.monotonicMs();
    const tallies = new Map<string, MetricsTally>();
    const silent: string[] = [];
    for (const { id, answer } of metrics) {
      if (answer) tallies.set(id, answer);
      else silent.push(id);
    }
    const seconds = last ? (atMs - last.atMs) / 1_000 : 0;
    const since = new Map<string, MetricsTally>();
    for (const [id, tally] of tallies) {
      const before = last?.tallies.get(id);
      if (before) since.set(id, sinceTally(tally, before));
    }
    last = { atMs, tallies };
    pulse = {
      ...(seconds > 0 ? ratesOf(since, seconds, clock.nowMs() / 1_000, pulse.points) : NOTHING),
      ...{ unhealthy: unhealthyIn(health), silent },
    };
  }

  /** One look at a time. */
  const lookOnce = (): Promise<void> => {
    looking ??= look()
      .catch((error: unknown) => log.warn({ error: messageOf(error) }, "the nodes could not be counted together"))
      .finally(() => {
        looking = undefined;
      });
    return looking;
  };

  const pause = (): void => {
    timer?.cancel();
    timer = undefined;
    last = undefined; // what was counted meanwhile belongs to no step
  };

  return {
    async read() {
      watchedMs = clock.monotonicMs();
      timer ??= clock.every(EVERY_MS, () => {
        if (clock.monotonicMs() - watchedMs > WATCHED_MS) pause();
        else void lookOnce();
      });
      if (!last) await lookOnce();
      return pulse;
    },
    stop: pause,
  };
}

function ratesOf(
  since: ReadonlyMap<string, MetricsTally>,
  seconds: number,
  time: number,
  points: readonly PulsePoint[],
): Omit<Pulse, "unhealthy" | "silent"> {
  const all = addTallies([...since.values()]);
  const rates = (family: string): Record<string, number> =>
    Object.fromEntries(
      [...all.counts]
        .filter(([name, count]) => name.startsWith(`${family} `) && count > 0)
        .map(([name, count]) => [name.slice(family.length + 1), count / seconds]),
    );
  const sum = (by: Readonly<Record<string, number>>): number => Object.values(by).reduce((all, one) => all + one, 0);
  const requests = rates("requests");
  const refused = rates("refused");
  const point = {
    ...{ time: Math.round(time), requests: sum(requests), failed: requests["5xx"] ?? 0, refused: sum(refused) },
    ...{ reasons: mostOf(refused), p50: quantileOf(0.5, all), p99: quantileOf(0.99, all) },
  };
  const oldest = point.time - WATCHED_MS / 1_000;
  return {
    points: [...points.filter((one) => one.time > oldest), point].slice(-KEPT),
    ...{ requests, refused, tokens: rates("tokens") },
    nodes: new Map(
      [...since].map(([id, { counts }]) => {
        const own = [...counts].filter(([name]) => name.startsWith("requests "));
        return [id, own.reduce((all, [, count]) => all + count, 0) / seconds];
      }),
    ),
  };
}

function mostOf(rates: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  const sorted = Object.entries(rates).sort(([, a], [, b]) => b - a);
  const rest = sorted.slice(REASONS_MAX).reduce((sum, [, rate]) => sum + rate, 0);
  return Object.fromEntries([...sorted.slice(0, REASONS_MAX), ...(rest > 0 ? [["other", rest] as const] : [])]);
}

interface Checker {
  readonly name: string;
  readonly nodes: readonly { readonly ip: string; readonly port: number; readonly status: string }[];
}

function unhealthyIn(health: readonly Told<AdminAnswer>[]): readonly UnhealthyTarget[] {
  const found = new Map<string, UnhealthyTarget & { readonly nodes: string[] }>();
  for (const { id, answer } of health) {
    if (answer.status !== 200 || !Array.isArray(answer.body)) continue;
    for (const { name, nodes } of answer.body as readonly Checker[]) {
      for (const { ip, port, status } of nodes) {
        if (!status.endsWith("unhealthy")) continue;
        const target = `${ip.includes(":") ? `[${ip}]` : ip}:${port}`;
        const known = found.get(`${name} ${target}`);
        if (known) known.nodes.push(id);
        else found.set(`${name} ${target}`, { record: name, target, status, nodes: [id] });
      }
    }
  }
  return [...found.values()];
}
