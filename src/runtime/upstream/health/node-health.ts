/**
 * Health of one node under one set of checks: probes it from the first use on and listens to how requests end.
 * Promise: at most one probe at a time; after a flip the next probe follows the new state's interval; recovery is seen
 * within one interval after the threshold; nothing runs before `start` or after `close`.
 */
import type { Clock, Timer } from "../../../base/clock.ts";
import { assertNever } from "../../../base/errors.ts";
import type { Limiter } from "../../../base/limiter.ts";
import type { Log } from "../../../base/log.ts";
import type { Counter, Family } from "../../../base/metrics.ts";
import type { Siblings, SiblingTopic } from "../../../plugin/plugin.ts";
import type { HeldName } from "../dns/dns.ts";
import type { TargetSpec } from "../target-list.ts";
import type { AttemptOutcome, UpstreamTls } from "../upstream-unit.ts";
import type { HealthConf, ProbeConf, Thresholds } from "./health-conf.ts";
import { HealthState, type ProbeFailure } from "./health-state.ts";

export interface ProbeTarget {
  /** IP literal. */
  readonly address: string;
  readonly port: number;
  /** For the Host header and, if it is a name, the server name of TLS. */
  readonly host: string;
  /** Client certificate of the upstream, if it has one. */
  readonly tls: UpstreamTls | undefined;
}

/** Status 0: it answered, but not with HTTP. */
export type ProbeOutcome =
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "connected" }
  | { readonly kind: "refused" }
  | { readonly kind: "timeout" };

/** Asks a target once; ends within `conf.timeoutMs` or when the signal aborts. A rejection counts as refused. */
export type Probe = (target: ProbeTarget, conf: ProbeConf, signal: AbortSignal) => Promise<ProbeOutcome>;

export interface HealthEnv {
  readonly clock: Clock;
  readonly log: Log;
  readonly probe: Probe;
  readonly probes: Family<Counter>;
  readonly random: () => number;
  /** The other workers of this node, who count with this one how requests end; absent where there is one process. */
  readonly siblings?: Siblings | undefined;
}

/** What the end of a request says of a target. */
interface Signal {
  readonly kind: "success" | ProbeFailure;
  /** At which the state changes; 0: nothing is counted. */
  readonly threshold: number;
}

interface NodeHealthInput {
  readonly spec: TargetSpec;
  readonly conf: HealthConf;
  /** The same in every worker of this node. */
  readonly topic: string;
  readonly tls: UpstreamTls | undefined;
  /** Limits the probes of one upstream. */
  readonly limiter: Limiter;
  /** What other checks of the same resource have found out. */
  readonly former?: HealthState | undefined;
  /** The node's name, held for the probes; released at close. */
  readonly held: HeldName | undefined;
}

export class NodeHealth {
  readonly #env: HealthEnv;
  readonly #facts: NodeHealthInput;
  readonly #state: HealthState;
  readonly #others: SiblingTopic | undefined;
  readonly #listeners = new Set<() => void>();
  readonly #abort = new AbortController();
  #timer: Timer | undefined;
  /** How many units want it probed. */
  #users = 0;
  /** When the next probe is due; undefined before the first start. */
  #dueMs: number | undefined;
  #probing = false;
  #turn = 0;

  constructor(env: HealthEnv, facts: NodeHealthInput) {
    this.#env = env;
    this.#facts = facts;
    this.#state = new HealthState(facts.former);
    this.#others = facts.conf.passive && env.siblings?.join(facts.topic, (message) => this.#hear(message));
  }

  get isUsable(): boolean {
    return this.#state.isUsable;
  }

  get state(): HealthState {
    return this.#state;
  }

  /** Port that is probed. */
  get port(): number {
    return this.#facts.conf.probe.port ?? this.#facts.spec.port;
  }

  /**
   * Probes for as long as anybody wants it; the first probe comes within one interval, a pause does not put it off.
   * @returns the way to end it
   */
  start(): () => void {
    if (this.#users++ === 0 && !this.#probing) this.#resume();
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      if (--this.#users === 0) this.#timer?.cancel();
    };
  }

  close(): void {
    this.#users = 0;
    this.#abort.abort();
    this.#timer?.cancel();
    this.#listeners.clear();
    this.#others?.leave();
    this.#facts.held?.release();
  }

  /** Calls back after `isUsable` changed. @returns the way to end it */
  onFlip(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Passive check: how a request to this node ended. */
  observe(outcome: AttemptOutcome): void {
    const passive = this.#facts.conf.passive;
    const signal = passive && signalOf(outcome, passive);
    // Most requests succeed at a healthy target, which says nothing new.
    if (!signal || signal.threshold === 0 || !this.#state.minds(signal.kind)) return;
    this.#count(signal);
    this.#others?.tell(signal);
  }

  #hear(message: unknown): void {
    const { kind, threshold } = message as Partial<Signal>; // checked here
    if (kind !== "success" && kind !== "http" && kind !== "tcp" && kind !== "timeout") return;
    if (typeof threshold === "number" && threshold > 0) this.#count({ kind, threshold });
  }

  #count({ kind, threshold }: Signal): void {
    const wasUsable = this.#state.isUsable;
    if (kind === "success") this.#state.succeed(threshold);
    else this.#state.fail(kind, threshold);
    this.#announce(wasUsable);
  }

  #judge(status: number, thresholds: Thresholds): void {
    const signal = verdictOn(status, thresholds);
    if (signal?.kind === "success") this.#state.succeed(signal.threshold);
    else if (signal) this.#state.fail("http", signal.threshold);
  }

  #announce(wasUsable: boolean): void {
    if (this.#state.isUsable === wasUsable) return;
    const { status, counter } = this.#state;
    const fields = { target: this.#facts.spec.id, ...counter };
    if (wasUsable) this.#env.log.warn(fields, `upstream target is ${status}`);
    else this.#env.log.info(fields, `upstream target is ${status}`);
    if (!this.#probing) this.#schedule(this.#intervalMs() * this.#jitter());
    for (const listener of this.#listeners) listener();
  }

  #intervalMs(): number {
    const { healthyIntervalMs, unhealthyIntervalMs } = this.#facts.conf;
    return this.#state.isUsable ? healthyIntervalMs : unhealthyIntervalMs;
  }

  /** Never above 1, or recovery would take longer than the interval says. */
  #jitter(): number {
    return 0.9 + this.#env.random() * 0.1;
  }

  #schedule(delayMs: number): void {
    this.#dueMs = this.#env.clock.monotonicMs() + delayMs;
    this.#resume();
  }

  #resume(): void {
    this.#timer?.cancel();
    if (this.#users === 0) return;
    const { clock, random } = this.#env;
    const nowMs = clock.monotonicMs();
    this.#dueMs ??= nowMs + random() * this.#intervalMs();
    this.#timer = clock.after(Math.max(0, this.#dueMs - nowMs), () => void this.#probe());
  }

  async #probe(): Promise<void> {
    this.#probing = true;
    const startedMs = this.#env.clock.monotonicMs();
    const outcome = await this.#ask();
    if (this.#abort.signal.aborted) return;
    if (outcome) this.#apply(outcome);
    this.#probing = false;
    const spentMs = this.#env.clock.monotonicMs() - startedMs;
    this.#schedule(Math.max(0, this.#intervalMs() * this.#jitter() - spentMs));
  }

  /** @returns undefined while the node's name has no address: then it gets no traffic anyway */
  async #ask(): Promise<ProbeOutcome | undefined> {
    const { limiter, conf, spec, tls, held } = this.#facts;
    await held?.name.want();
    const addresses = held ? held.name.addresses : [spec.host];
    const address = addresses[this.#turn++ % addresses.length];
    if (address === undefined || this.#abort.signal.aborted) return undefined;
    const target = { address, port: this.port, host: conf.probe.host ?? spec.host, tls };
    try {
      return await limiter.run(() => this.#env.probe(target, conf.probe, this.#abort.signal));
    } catch {
      // A prober that breaks says what a refused connection says: it could not be asked.
      return { kind: "refused" };
    }
  }

  #apply(outcome: ProbeOutcome): void {
    const { active } = this.#facts.conf;
    const wasUsable = this.#state.isUsable;
    this.#env.probes.child(outcome.kind).inc();
    switch (outcome.kind) {
      case "status":
        this.#judge(outcome.status, active);
        break;
      case "connected":
        this.#state.succeed(active.successes);
        break;
      case "refused":
        this.#state.fail("tcp", active.tcpFailures);
        break;
      case "timeout":
        this.#state.fail("timeout", active.timeouts);
        break;
      default:
        assertNever(outcome);
    }
    this.#announce(wasUsable);
  }
}

function verdictOn(status: number, thresholds: Thresholds): Signal | undefined {
  const verdict = thresholds.verdicts[status];
  if (verdict === 1) return { kind: "success", threshold: thresholds.successes };
  return verdict === 2 ? { kind: "http", threshold: thresholds.httpFailures } : undefined;
}

/** With its own counter off, a broken try counts as the status the client would see. */
function signalOf(outcome: AttemptOutcome, passive: Thresholds): Signal | undefined {
  switch (outcome.kind) {
    case "response":
      return verdictOn(outcome.status, passive);
    case "refused":
      if (passive.tcpFailures > 0) return { kind: "tcp", threshold: passive.tcpFailures };
      return verdictOn(502, passive);
    case "timeout":
      if (passive.timeouts > 0) return { kind: "timeout", threshold: passive.timeouts };
      return verdictOn(504, passive);
    case "aborted":
      return undefined;
    default:
      return assertNever(outcome);
  }
}
