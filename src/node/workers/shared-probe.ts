/**
 * Health checks made once per node: workers ask their primary, which probes and tells all of them the same.
 * Promise: each worker learns each outcome at most once, so that thresholds count probes and not askers; an outcome is
 * shared only as long as the next probe would not be due.
 */
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Channel } from "../../base/channel.ts";
import type { Clock } from "../../base/clock.ts";
import type { Counter, Family } from "../../base/metrics.ts";
import type { ProbeConf } from "../../runtime/upstream/health/health-conf.ts";
import type { Probe, ProbeOutcome, ProbeTarget } from "../../runtime/upstream/health/node-health.ts";
import { PROBE } from "./shared-messages.ts";

const TARGETS_MAX = 65_536;
/** Askers that begin together share the first outcome. */
const SHARED_MS = 1_000;
/** Probing may have paused; an outcome from before says little. */
const SHARED_LIMIT_MS = 60_000;
/** Beyond the probe's own limit. */
const ANSWER_MS = 5_000;

/** A worker's prober. */
export function askedProbe(channel: Channel): Probe {
  return (target, conf) => channel.call(PROBE, { target, conf }, conf.timeoutMs + ANSWER_MS);
}

interface Known {
  running: Promise<ProbeOutcome> | undefined;
  last: ProbeOutcome | undefined;
  serial: number;
  startedMs: number;
  /** Between the last two probes. */
  periodMs: number;
  /** Which outcome each worker learnt last. */
  readonly answeredWith: WeakMap<object, number>;
}

interface ProberOptions {
  readonly probe: Probe;
  readonly probes: Family<Counter>;
  readonly clock: Clock;
}

/** The primary's prober. */
export class SharedProber {
  readonly #options: ProberOptions;
  readonly #known = new LRUCache<string, Known>({ max: TARGETS_MAX });

  constructor(options: ProberOptions) {
    this.#options = options;
  }

  /** @param asker stands for a worker */
  async ask(asker: object, target: ProbeTarget, conf: ProbeConf): Promise<ProbeOutcome> {
    const known = this.#find(target, conf);
    const ageMs = this.#options.clock.monotonicMs() - known.startedMs;
    const isShared =
      known.last !== undefined && known.answeredWith.get(asker) !== known.serial && ageMs <= known.periodMs;
    const outcome = isShared && known.last ? known.last : await this.#probe(known, target, conf);
    known.answeredWith.set(asker, known.serial);
    return outcome;
  }

  #find(target: ProbeTarget, conf: ProbeConf): Known {
    // Not the text itself: a client certificate's key may be part of it.
    const id = createHash("sha256")
      .update(JSON.stringify([target, conf]))
      .digest("base64");
    let known = this.#known.get(id);
    if (!known) {
      known = {
        ...{ running: undefined, last: undefined, serial: 0, periodMs: SHARED_MS },
        ...{ startedMs: Number.NEGATIVE_INFINITY, answeredWith: new WeakMap<object, number>() },
      };
      this.#known.set(id, known);
    }
    return known;
  }

  #probe(known: Known, target: ProbeTarget, conf: ProbeConf): Promise<ProbeOutcome> {
    known.running ??= this.#run(known, target, conf).finally(() => {
      known.running = undefined;
    });
    return known.running;
  }

  async #run(known: Known, target: ProbeTarget, conf: ProbeConf): Promise<ProbeOutcome> {
    const { clock, probe, probes } = this.#options;
    const startedMs = clock.monotonicMs();
    if (known.last !== undefined) {
      known.periodMs = Math.min(Math.max(SHARED_MS, startedMs - known.startedMs), SHARED_LIMIT_MS);
    }
    known.startedMs = startedMs;
    let outcome: ProbeOutcome;
    try {
      // A worker that no longer asks does not end what others wait for; the time limit does.
      outcome = await probe(target, conf, new AbortController().signal);
    } catch {
      outcome = { kind: "refused" }; // a prober that breaks could not ask either
    }
    probes.child(outcome.kind).inc();
    known.last = outcome;
    known.serial++;
    return outcome;
  }
}
