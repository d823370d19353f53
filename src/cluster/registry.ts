/**
 * The node registry: each node keeps a record under `P-jotgate/nodes/<id>` alive by a lease.
 * Promise: losing the lease never touches traffic; a lost record comes back by itself. The record says what a node
 * reports, rewritten at most every 10 s, never once per revision.
 */
import { type Clock, sleep, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { type LeaseId, prefixRange, type Revision, type Store } from "../store/store.ts";
import { controlKeys } from "../store/store-keys.ts";

/** What a node says of itself. */
export interface NodeReport {
  readonly version: string;
  /** `host:port` of its status listener as others reach it; empty without one. */
  readonly address: string;
  /** Wall time of its start, in milliseconds. */
  readonly startedMs: number;
  readonly workers: number;
  /** Decimal; the lowest of its workers. */
  readonly applied: string;
  readonly stalenessSeconds: number;
  readonly problems: number;
  /** Of its configuration; equal hashes mean equal configurations. */
  readonly hash: string;
}

export interface RegisteredNode extends NodeReport {
  readonly id: string;
}

interface RegistrationOptions {
  /** Long-lived; closed by its owner. */
  readonly store: Store;
  readonly prefix: string;
  readonly id: string;
  readonly report: () => NodeReport;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
  /** Registered anew after its lease had ended. */
  readonly onAgain?: () => void;
}

/** A node that is gone is missed after this long. */
export const LEASE_SECONDS = 15;
const KEEP_ALIVE_MS = 5_000;
const REPORT_EVERY_MS = 10_000;
const STOP_MS = 1_000;
const FIRST_TRY_MS = 1_000;
/** All nodes may have lost theirs at the same moment. */
const AT_ONCE_SPREAD_MS = 200;
const RETRY_FROM_MS = 1_000;
const RETRY_SPREAD_MS = 4_000;
/** A loss that lasts is said again after this long; that the store is away is said by others. */
const SAY_AGAIN_MS = 60_000;

export class Registration {
  readonly #options: RegistrationOptions;
  readonly #clock: Clock;
  readonly #key: string;
  readonly #random: () => number;
  #lease: LeaseId | undefined;
  #aliveAtMs = 0;
  #reported = "";
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  #problem: string | undefined;
  #loggedAtMs = 0;
  #timer: Timer | undefined;
  #step: Promise<void> | undefined;
  #hasTried: () => void = () => {};
  readonly #tried = new Promise<void>((resolve) => {
    this.#hasTried = resolve;
  });
  #isBusy = false;
  #wasLost = false;
  #stopped = false;

  constructor(options: RegistrationOptions) {
    this.#options = options;
    this.#clock = options.clock;
    this.#key = controlKeys(options.prefix).nodes + options.id;
    this.#random = options.random ?? Math.random;
  }

  /**
   * Registering is repeated until it succeeds. Resolves when it was tried once, at the latest after a second: from then on, with the
   * store there, nobody who waits for all nodes misses this one.
   */
  async start(): Promise<void> {
    if (this.#timer === undefined && !this.#stopped) this.#plan(0);
    await Promise.race([this.#tried, sleep(this.#clock, FIRST_TRY_MS)]);
  }

  /** The store is there again: what became of the lease is looked at now, not when the next keep-alive is due. */
  look(): void {
    if (this.#timer === undefined || this.#stopped || this.#isBusy) return;
    this.#timer.cancel();
    this.#plan(this.#random() * AT_ONCE_SPREAD_MS);
  }

  /** Takes the record back. Idempotent; a store that is away is waited for at most a second. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#timer?.cancel();
    await Promise.race([this.#takeBack(), sleep(this.#clock, STOP_MS)]);
  }

  async #takeBack(): Promise<void> {
    await this.#step;
    const lease = this.#lease;
    if (lease === undefined) return;
    try {
      // Said before it is gone: a record that only vanishes is one of a node that may still serve.
      const value = Buffer.from(JSON.stringify({ ...this.#options.report(), leaving: true }), "utf8");
      await this.#options.store.txn({ compare: [], then: [{ op: "put", key: this.#key, value, lease }] });
      await this.#options.store.revokeLease(lease);
    } catch (error) {
      this.#options.log.debug({ error: messageOf(error) }, "the registration ends by its lease"); // within 15 s
    }
  }

  /** The lease of the record, for what should go with the node; undefined while not registered. */
  lease(): LeaseId | undefined {
    return this.#lease;
  }

  facts(): { readonly registered: boolean; readonly problem: string | undefined } {
    return { registered: this.#lease !== undefined, problem: this.#problem };
  }

  #plan(delayMs: number): void {
    this.#timer = this.#clock.after(delayMs, () => {
      this.#isBusy = true;
      this.#step = this.#once().then((nextMs) => {
        this.#isBusy = false;
        this.#hasTried();
        if (!this.#stopped) this.#plan(nextMs);
      });
    });
  }

  /** @returns when to look again */
  async #once(): Promise<number> {
    try {
      if (this.#lease === undefined) await this.#register();
      else if ((await this.#options.store.keepAlive(this.#lease)) > 0) {
        this.#aliveAtMs = this.#clock.monotonicMs();
        await this.#rewrite(this.#lease);
      } else {
        this.#lost("the lease ended");
        return this.#random() * AT_ONCE_SPREAD_MS; // the store has just answered
      }
      this.#problem = undefined;
      return KEEP_ALIVE_MS;
    } catch (error) {
      if (this.#lease !== undefined && this.#clock.monotonicMs() - this.#aliveAtMs < LEASE_SECONDS * 1_000) {
        this.#problem = messageOf(error);
        return RETRY_FROM_MS + this.#random() * RETRY_FROM_MS; // the lease may well live
      }
      return this.#lost(messageOf(error));
    }
  }

  async #register(): Promise<void> {
    const { store, log } = this.#options;
    const lease = await store.grantLease(LEASE_SECONDS);
    this.#lease = lease; // before the record shows: who sees it may ask for an acknowledgement under the lease
    this.#aliveAtMs = this.#clock.monotonicMs();
    this.#reported = "";
    this.#reportedAtMs = Number.NEGATIVE_INFINITY;
    await this.#rewrite(lease);
    if (this.#wasLost) this.#options.onAgain?.();
    this.#wasLost = false;
    log.info({}, "registered");
  }

  async #rewrite(lease: LeaseId): Promise<void> {
    const report = JSON.stringify(this.#options.report());
    const now = this.#clock.monotonicMs();
    if (report === this.#reported || now - this.#reportedAtMs < REPORT_EVERY_MS) return;
    const value = Buffer.from(report, "utf8");
    await this.#options.store.txn({ compare: [], then: [{ op: "put", key: this.#key, value, lease }] });
    this.#reported = report;
    this.#reportedAtMs = now;
  }

  #lost(problem: string): number {
    const now = this.#clock.monotonicMs();
    // Texts differ from try to try: gRPC puts the time into them.
    if (this.#problem === undefined || now - this.#loggedAtMs >= SAY_AGAIN_MS) {
      this.#loggedAtMs = now;
      this.#options.log.warn({ problem }, "not registered; trying again");
    }
    this.#problem = problem;
    if (this.#lease !== undefined) this.#wasLost = true;
    this.#lease = undefined;
    return RETRY_FROM_MS + this.#random() * RETRY_SPREAD_MS;
  }
}

/** All nodes that are registered now, read linearizably. */
export async function listNodes(
  store: Store,
  prefix: string,
): Promise<{ readonly revision: Revision; readonly nodes: readonly RegisteredNode[] }> {
  const range = prefixRange(controlKeys(prefix).nodes);
  const nodes: RegisteredNode[] = [];
  let revision: Revision = 0n;
  for await (const page of store.list(range)) {
    revision = page.revision;
    for (const { key, value } of page.kvs) {
      const node = parseNode(key.slice(range.start.length), value);
      if (node !== undefined) nodes.push(node);
    }
  }
  return { revision, nodes };
}

/** One node, read linearizably; undefined when it is not registered. */
export async function readNode(store: Store, prefix: string, id: string): Promise<RegisteredNode | undefined> {
  const { kv } = await store.get(controlKeys(prefix).nodes + id);
  return kv && parseNode(id, kv.value);
}

/** Whether a node takes its record back in order. */
export function isLeaving(value: Buffer): boolean {
  try {
    return (JSON.parse(value.toString("utf8")) as { leaving?: unknown } | null)?.leaving === true;
  } catch {
    return false; // not written by a node
  }
}

/** How many nodes are registered now. */
export async function countNodes(store: Store, prefix: string): Promise<number> {
  let count = 0;
  for await (const page of store.list(prefixRange(controlKeys(prefix).nodes), { keysOnly: true })) {
    count += page.kvs.length;
  }
  return count;
}

/** Undefined for what is not a report; such a node cannot be told anything about. */
export function parseNode(id: string, value: Buffer): RegisteredNode | undefined {
  try {
    const parsed: unknown = JSON.parse(value.toString("utf8"));
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const { version, address, startedMs, workers, applied, stalenessSeconds, problems, hash } = parsed as Record<
      string,
      unknown
    >;
    return {
      id,
      version: text(version),
      address: text(address),
      startedMs: count(startedMs),
      workers: count(workers),
      applied: text(applied),
      stalenessSeconds: count(stalenessSeconds),
      problems: count(problems),
      hash: text(hash),
    };
  } catch {
    return undefined; // not written by a node
  }
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
