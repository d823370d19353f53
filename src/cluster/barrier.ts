/**
 * An admin's side of the barrier: waits until every registered node has applied a revision.
 * A write carries its ask in its own transaction, which saves a commit of the store; for any other revision one ask serves
 * all who wait at that moment. Nodes answer over the store, so the admin need not reach them.
 */
import { randomUUID } from "node:crypto";
import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { type KeyValue, prefixRange, type Revision, type Store, type StoreSource } from "../store/store.ts";
import { follow } from "../store/store-follow.ts";
import { type ControlKeys, controlKeys } from "../store/store-keys.ts";
import type { RecordRefusal } from "./acknowledge.ts";
import { LatelySeen } from "./lately-seen.ts";
import { listNodes } from "./registry.ts";

interface BarrierOptions {
  readonly source: StoreSource;
  /** Long-lived; closed by its owner. */
  readonly store: Store;
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
}

export interface BarrierAnswer {
  readonly revision: Revision;
  /** Ids of nodes that have applied and taken it. */
  readonly applied: readonly string[];
  /** Nodes that have seen it and have not taken a record of it, or refuse requests because of one. */
  readonly refused: readonly NodeRefusal[];
  /** Registered, and silent so far. */
  readonly waiting: readonly string[];
  /** Their lease ended, meanwhile or lately: gone, or cut off and still serving what they had. */
  readonly left: readonly string[];
}

interface NodeRefusal {
  /** Id of the node. */
  readonly node: string;
  /** Store key of the record. */
  readonly key: string;
  readonly reason: string;
}

/** What a node said last. */
interface Ack {
  readonly applied: Revision;
  /** How far the node was when it said so, at least as far as that, and its hash there; "" when it does not say. */
  readonly at: Revision;
  readonly hash: string;
  readonly refused: readonly RecordRefusal[];
}

/** A write that is going to be waited for. */
export interface Asking {
  /** To be part of the write's transaction. */
  readonly ask: { readonly key: string; readonly value: Buffer };
  /**
   * As `waitApplied`, of the write's revision.
   * @param carried whether the ask was part of that very transaction
   */
  waitApplied(revision: Revision, carried: boolean, timeoutMs: number): Promise<BarrierAnswer>;
}

interface Round {
  /** Of the ask; an acknowledgement of it proves everything before. */
  readonly revision: Revision;
  /** Registered before the ask. */
  readonly before: readonly string[];
  /** Registered after it: mostly the same, so that acknowledgements are waited for meanwhile. */
  readonly after: Promise<readonly string[]>;
}

interface Waiter {
  readonly revision: Revision;
  readonly open: Set<string>;
  readonly done: () => void;
}

export class Barrier {
  readonly #options: BarrierOptions;
  readonly #keys: ControlKeys;
  readonly #acks = new Map<string, Ack>();
  readonly #waiters = new Set<Waiter>();
  #round: Promise<Round> | undefined;
  readonly #lately: LatelySeen;
  #unfollow: (() => Promise<void>) | undefined;

  constructor(options: BarrierOptions) {
    this.#options = options;
    this.#keys = controlKeys(options.prefix);
    this.#lately = new LatelySeen(options);
  }

  /** Begins to listen for acknowledgements. */
  start(): void {
    const { source, clock, log } = this.#options;
    this.#lately.start();
    this.#unfollow ??= follow(
      source,
      prefixRange(this.#keys.acks),
      {
        listed: (kvs) => {
          this.#acks.clear();
          for (const kv of kvs) this.#acknowledged(kv);
        },
        changed: (changes) => {
          for (const { key, kv } of changes) {
            if (kv === undefined) this.#acks.delete(this.#idOf(key));
            else this.#acknowledged(kv);
          }
        },
      },
      clock,
      log,
    );
  }

  /** Whoever waits gets the answer as it is. Idempotent. */
  async stop(): Promise<void> {
    for (const waiter of this.#waiters) waiter.done();
    await Promise.all([this.#lately.stop(), this.#unfollow?.()]);
    this.#unfollow = undefined;
  }

  /**
   * Resolves when every registered node has applied `revision`, or after `timeoutMs` with those that have not.
   * @throws CodedError STORE_* when the ask itself cannot be written or the registry not be read
   */
  async waitApplied(revision: Revision, timeoutMs: number): Promise<BarrierAnswer> {
    const endMs = this.#options.clock.monotonicMs() + timeoutMs;
    let round = await this.#ask();
    while (round.revision < revision) round = await this.#ask();
    return this.#settle(revision, round, endMs);
  }

  /** To be called before the write: who leaves while it happens may still serve what was before, and is named. */
  begin(): Asking {
    const before = this.#idsNow();
    before.catch(() => undefined); // reported to whoever waits for it
    return {
      ask: { key: this.#keys.ask, value: newAsk() },
      waitApplied: async (revision, carried, timeoutMs) => {
        if (!carried) return this.waitApplied(revision, timeoutMs);
        const endMs = this.#options.clock.monotonicMs() + timeoutMs;
        const after = this.#idsNow();
        after.catch(() => undefined); // the same
        return this.#settle(revision, { revision, before: await before, after }, endMs);
      },
    };
  }

  /** As `waitApplied`, for the newest revision there is. */
  async waitNewest(timeoutMs: number): Promise<BarrierAnswer> {
    const endMs = this.#options.clock.monotonicMs() + timeoutMs;
    const round = await this.#ask();
    return this.#settle(round.revision, round, endMs);
  }

  /** What a node acknowledged last; undefined when it never did, or is gone. */
  acknowledged(id: string): Pick<Ack, "at" | "hash"> | undefined {
    return this.#acks.get(id);
  }

  async #settle(revision: Revision, round: Round, endMs: number): Promise<BarrierAnswer> {
    const open = new Set<string>();
    const waitFor = async (ids: readonly string[]): Promise<void> => {
      const silent = new Set(ids.filter((id) => (this.#acks.get(id)?.applied ?? 0n) < revision));
      if (silent.size > 0) await this.#wait(revision, silent, endMs - this.#options.clock.monotonicMs());
      for (const id of silent) open.add(id);
    };
    const [after] = await Promise.all([round.after, waitFor(round.before)]);
    const late = after.filter((id) => !round.before.includes(id));
    await waitFor(late);
    // Their leases may have ended with the store's leader, and they serve all the while: they come back, or are named.
    const lost = this.#lately.missing([...round.before, ...after]);
    await waitFor(lost);
    const nodes = [...round.before, ...late, ...lost];
    const refused = nodes.filter((id) => !open.has(id)).flatMap((id) => this.#refusalsOf(id, revision));
    const refusing = new Set(refused.map(({ node }) => node));
    const applied = nodes.filter((id) => !open.has(id) && !refusing.has(id));
    if (open.size === 0) return { revision, applied, refused, waiting: [], left: [] };
    const now = new Set((await listNodes(this.#options.store, this.#options.prefix)).nodes.map(({ id }) => id));
    return {
      revision,
      applied,
      refused,
      waiting: [...open].filter((id) => now.has(id)),
      left: [...open].filter((id) => !now.has(id)),
    };
  }

  /** The ask under way, or a new one. */
  #ask(): Promise<Round> {
    this.#round ??= this.#askNow().finally(() => {
      this.#round = undefined;
    });
    return this.#round;
  }

  async #askNow(): Promise<Round> {
    const { store } = this.#options;
    const asking = store.txn({ compare: [], then: [{ op: "put", key: this.#keys.ask, value: newAsk() }] });
    // Before the ask, for nodes that leave just now; after it, because whoever registers later lists at its revision or a newer one.
    const [before, { revision }] = await Promise.all([this.#idsNow(), asking]);
    const after = this.#idsNow();
    after.catch(() => undefined); // reported to whoever waits for it
    return { revision, before, after };
  }

  async #idsNow(): Promise<readonly string[]> {
    const { store, prefix } = this.#options;
    return (await listNodes(store, prefix)).nodes.map(({ id }) => id);
  }

  #wait(revision: Revision, open: Set<string>, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const waiter: Waiter = {
        revision,
        open,
        done: () => {
          this.#waiters.delete(waiter);
          timer?.cancel();
          resolve();
        },
      };
      this.#waiters.add(waiter);
      timer = this.#options.clock.after(Math.max(0, timeoutMs), waiter.done);
    });
  }

  #acknowledged(kv: KeyValue): void {
    const ack = parseAck(kv.value);
    if (ack === undefined) return;
    const { applied } = ack;
    const id = this.#idOf(kv.key);
    this.#acks.set(id, ack);
    for (const waiter of this.#waiters) {
      if (waiter.revision > applied || !waiter.open.delete(id)) continue;
      if (waiter.open.size === 0) waiter.done();
    }
  }

  #refusalsOf(id: string, revision: Revision): readonly NodeRefusal[] {
    const mine = this.#acks.get(id)?.refused.filter((one) => one.revision === revision) ?? [];
    return mine.map(({ key, reason }) => ({ node: id, key, reason }));
  }

  #idOf(key: string): string {
    return key.slice(this.#keys.acks.length);
  }
}

function newAsk(): Buffer {
  return Buffer.from(JSON.stringify({ nonce: randomUUID() }), "utf8");
}

function parseAck(value: Buffer): Ack | undefined {
  try {
    const parsed: unknown = JSON.parse(value.toString("utf8"));
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const { applied, at, hash, refused } = parsed as Readonly<Record<string, unknown>>;
    if (!isRevision(applied)) return undefined;
    return {
      applied: BigInt(applied),
      at: BigInt(isRevision(at) ? at : applied),
      hash: typeof hash === "string" ? hash : "",
      refused: Array.isArray(refused) ? refused.flatMap(readRefusal) : [],
    };
  } catch {
    return undefined; // not written by a node
  }
}

function readRefusal(value: unknown): RecordRefusal[] {
  if (typeof value !== "object" || value === null) return [];
  const { key, revision, reason } = value as { key?: unknown; revision?: unknown; reason?: unknown };
  if (typeof key !== "string" || typeof reason !== "string" || !isRevision(revision)) return [];
  return [{ key, reason, revision: BigInt(revision) }];
}

function isRevision(text: unknown): text is string {
  return typeof text === "string" && /^\d{1,19}$/.test(text);
}
