/**
 * A worker: the gateway half of a node in a process of its own, which knows the node only through its primary.
 * Promise: it ends with its primary, at the latest when the channel to it does; signals are the primary's business,
 * also where a terminal or service manager sends them to all.
 */
import type { Serializable } from "node:child_process";
import cluster from "node:cluster";
import { Channel, type Pipe } from "../../base/channel.ts";
import { type Clock, systemClock, type Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { type Log, type LogLevel, openLog } from "../../base/log.ts";
import { countLogLines, LogSink } from "../../base/log-sink.ts";
import { type Metrics, openMetrics } from "../../base/metrics.ts";
import { countProbes } from "../../runtime/upstream/upstreams.ts";
import { readVersion } from "../../settings/instance.ts";
import type { Settings } from "../../settings/settings.ts";
import { collectProcessMetrics } from "../../status/status-metrics.ts";
import { openIpcSource } from "../../store/ipc/ipc.ts";
import type { Watcher } from "../../sync/watcher.ts";
import { containLateErrors } from "../late-errors.ts";
import { configOfPlane } from "../node-facts.ts";
import { openNodeMetrics } from "../node-metrics.ts";
import { checkEnvOf, makeParts } from "../node-parts.ts";
import { type DataPlane, openDataPlane } from "../planes/data-plane.ts";
import { openSource } from "../store-source.ts";
import { writeFacts } from "./config-wire.ts";
import { openLeasedCounters } from "./leased-counters.ts";
import { pageMetrics } from "./merged-metrics.ts";
import {
  APPLIED,
  BEGIN,
  CERTIFICATES,
  DRAIN,
  EXPLAIN,
  FACTS,
  FAILED,
  HEALTH,
  LISTENING,
  MAY_LISTEN,
  METRICS,
  REFUSALS,
  STOP,
  STOP_ACCEPTING,
  USED,
  USES_TOLD_MAX,
} from "./protocol.ts";
import { AskedKeys } from "./shared-keys.ts";
import { askedProbe } from "./shared-probe.ts";
import { inheritTable } from "./table-handover.ts";
import { openSiblings } from "./worker-siblings.ts";

const ANSWER_MS = 30_000;
/** A worker that stands by hears nothing until another one ends; after this long, 24 days, it makes room for a new one. */
const BEGIN_MS = 2_147_483_647;
/** Changes come in groups; each is told of this long after its first. */
const APPLIED_AFTER_MS = 50;
const FACTS_EVERY_MS = 1_000;
const CATCH_UP_STEP_MS = 200;
/** The primary ends who cannot start; this is for when it is busy. */
const FAILED_MS = 5_000;

export async function runWorker(): Promise<void> {
  for (const signal of ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);
  process.title = "jotgate worker";
  const clock = systemClock;
  const sink = new LogSink({ clock });
  const [node = ""] = process.argv.slice(2);
  const log = (level: LogLevel): Log => openLog({ level, node, sink }).child({ worker: cluster.worker?.id });
  const channel = new Channel({ pipe: pipeToPrimary(), clock, log: log("warn") });
  try {
    const begin = await channel.call(BEGIN, { version: readVersion() }, BEGIN_MS);
    // True: the primary read and checked them.
    const settings = begin.settings as Settings;
    await serve(settings, { ...begin, node }, channel, { clock, sink, log: log(settings.log.level) });
  } catch (error) {
    channel.tell(FAILED, { message: messageOf(error), ...systemFacts(error) });
    clock.after(FAILED_MS, () => process.exit(1));
  }
}

async function serve(
  settings: Settings,
  { folder, node, store }: { readonly folder: string; readonly node: string; readonly store: string },
  channel: Channel,
  { clock, sink, log }: { readonly clock: Clock; readonly sink: LogSink; readonly log: Log },
): Promise<void> {
  const metrics = openNodeMetrics(settings, log);
  collectProcessMetrics(metrics);
  countLogLines(metrics, sink);
  containLateErrors({ ...{ modules: settings.plugins, log, sink, metrics, clock }, exit: process.exit });
  const news = new News(channel, clock, settings.prefix);
  // Only one process can open the embedded store, and one reads the file: the primary does.
  const local = store === "embedded" || store === "file";
  const parts = await makeParts(settings);
  const checks = () => checkEnvOf(settings, parts.registry);
  const source = local ? openIpcSource(channel, store) : (await openSource(settings, clock, log, checks)).source;
  const plane = await openDataPlane({
    ...{ settings, source, folder, metrics, clock, log, nodeId: node },
    ...parts,
    shared: {
      counters: openLeasedCounters(channel, clock),
      siblings: openSiblings(channel, clock),
      probe: askedProbe(channel),
      keys: new AskedKeys(channel, clock, metrics),
      probes: countProbes(openMetrics()), // not told of
      onApplied: (revision) => news.applied(revision),
      inherit: (table) => inheritTable(channel, table),
      beforeListening: (watcher) => untilAllowed(watcher, channel),
    },
  });
  news.plane = plane;
  answer(channel, plane, metrics);
  news.tell();
  const { address, tlsAddress } = plane.server;
  channel.tell(LISTENING, { plain: address ?? null, tls: tlsAddress ?? null });
}

/** A worker answers requests only when it is as far as the node says it is. */
async function untilAllowed(watcher: Watcher, channel: Channel): Promise<void> {
  for (;;) {
    const { loaded, connected, appliedRevision } = watcher.facts();
    const answer = await channel.call(MAY_LISTEN, { loaded, connected, applied: String(appliedRevision) }, ANSWER_MS);
    if (answer === null) return;
    await watcher.waitFor(BigInt(answer.wait), CATCH_UP_STEP_MS);
  }
}

function answer(channel: Channel, plane: DataPlane, metrics: Metrics): void {
  channel.onCall(METRICS, pageMetrics(metrics));
  channel.onCall(HEALTH, () => plane.upstreams.healthStatus());
  channel.onCall(REFUSALS, (query) => plane.server.refusals.find(query));
  channel.onCall(CERTIFICATES, async () => {
    const refused = await plane.certificateRefusals();
    return refused.map(({ revision, ...same }) => ({ ...same, revision: String(revision) }));
  });
  channel.onCall(EXPLAIN, (query) => plane.explain(query));
  channel.onTell(DRAIN, () => plane.server.beginDrain());
  channel.onCall(STOP_ACCEPTING, async ({ isLast }) => {
    await plane.stopAccepting(isLast);
    return null;
  });
  channel.onCall(STOP, async ({ drainMs, quietMs }) => {
    await plane.close(drainMs, quietMs);
    tellUses(channel, plane);
    return null;
  });
}

/** Tells the primary how far this worker is: soon after a change, and each second that it is alive. */
class News {
  plane: DataPlane | undefined;
  readonly #channel: Channel;
  readonly #clock: Clock;
  readonly #prefix: string;
  #revision = 0n;
  #problems = "";
  #timer: Timer | undefined;

  constructor(channel: Channel, clock: Clock, prefix: string) {
    this.#channel = channel;
    this.#clock = clock;
    this.#prefix = prefix;
    clock.every(FACTS_EVERY_MS, () => this.tell());
  }

  applied(revision: bigint): void {
    this.#revision = revision;
    this.#timer ??= this.#clock.after(APPLIED_AFTER_MS, () => {
      this.#timer = undefined;
      this.#tellApplied();
    });
  }

  tell(): void {
    if (!this.plane) {
      this.#tellApplied();
      return;
    }
    tellUses(this.#channel, this.plane);
    const { wire, problems } = writeFacts(configOfPlane(this.plane, this.#prefix), this.#problems);
    this.#problems = problems;
    this.#channel.tell(FACTS, wire);
  }

  #tellApplied(): void {
    this.#channel.tell(APPLIED, { revision: String(this.#revision), hash: this.plane?.table.hash() ?? "" });
  }
}

function tellUses(channel: Channel, plane: DataPlane): void {
  for (;;) {
    const uses = plane.live.uses.take(USES_TOLD_MAX);
    if (uses.length > 0) channel.tell(USED, uses);
    if (uses.length < USES_TOLD_MAX) return;
  }
}

function pipeToPrimary(): Pipe {
  return {
    // The callback takes the error of a channel that is gone; the process ends with it.
    send: (message) => void process.send?.(message as Serializable, undefined, undefined, () => undefined),
    receive: (listener) => void process.on("message", listener),
  };
}

/** What an error of the system says beside its text. */
function systemFacts(error: unknown): { code?: string; address?: string; port?: number } {
  const { code, address, port } = error as Readonly<Record<string, unknown>>;
  return {
    ...(typeof code === "string" ? { code } : {}),
    ...(typeof address === "string" ? { address } : {}),
    ...(typeof port === "number" ? { port } : {}),
  };
}
