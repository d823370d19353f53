/**
 * The way from one node to the simulated etcd, with all that can go wrong on it. Watches travel as etcd's messages through
 * the product's own adapter; calls are answered, late, or not at all.
 */
import { EventEmitter } from "node:events";
import type { Etcd3 } from "etcd3";
import { type Clock, sleep } from "../../src/base/clock.ts";
import { CodedError } from "../../src/base/errors.ts";
import { watchEtcd } from "../../src/store/etcd/etcd-watch.ts";
import type {
  Change,
  GetResult,
  KeyRange,
  ListOptions,
  ListPage,
  Revision,
  Store,
  StoreSource,
  Txn,
  TxnResult,
} from "../../src/store/store.ts";
import { watchBytes } from "../support/etcd-wire.ts";
import type { LoggedRevision, SimEtcd } from "./sim-etcd.ts";

const RPC_MS = 5_000;
/** Small, so that short lists have many pages. */
const PAGE = 3;

export type LinkMode = "up" | "refuse" | "silent";

/** Faults of one node's way; changed by the plan while everything runs. */
export class Link {
  mode: LinkMode = "up";
  /** Of each call and message. */
  delayMs = 0;
  /** Whether progress requests are answered, which older and newer servers decide differently. */
  answersProgress = true;
  /** A revision of several changes comes in several messages. */
  fragments = false;
  /** The last message comes twice. */
  repeats = false;
  /** Undefined: this member knows everything; otherwise its watches know no more than this. */
  lagAt: Revision | undefined;
  /** Called between the pages of a list. */
  betweenPages: () => void = () => {};
  /** A bug on purpose: this watch event never comes, though everything after it does. For testing the simulation. */
  loses: ((revision: Revision) => boolean) | undefined;
  readonly streams = new Set<SimStream>();

  /** Ends all connections. */
  cut(): void {
    for (const stream of [...this.streams]) stream.fail("14 UNAVAILABLE: connection reset");
  }

  /** The watches that are open show no change any more, though they live: a server's bug. New ones do. */
  deafen(): void {
    for (const stream of this.streams) stream.deaf = true;
  }

  /** The connections that are open are lost, and nobody is told. */
  lose(): void {
    for (const stream of this.streams) stream.lost = true;
  }

  /** What was held back comes now. */
  flush(): void {
    for (const stream of this.streams) stream.flush();
  }
}

export function simSource(etcd: SimEtcd, link: Link, clock: Clock): StoreSource {
  const open = (): Store => new SimStore(etcd, link, clock);
  return { kind: "etcd", open, openMember: open };
}

class SimStore implements Store {
  readonly kind = "etcd";
  readonly #etcd: SimEtcd;
  readonly #link: Link;
  readonly #clock: Clock;
  readonly #closing = new AbortController();

  constructor(etcd: SimEtcd, link: Link, clock: Clock) {
    this.#etcd = etcd;
    this.#link = link;
    this.#clock = clock;
  }

  async get(key: string): Promise<GetResult> {
    await this.#reach();
    return { kv: this.#etcd.at(key), revision: this.#etcd.head, clusterId: "sim" };
  }

  async *list(range: KeyRange, options: ListOptions = {}): AsyncGenerator<ListPage> {
    const { generation } = this.#etcd;
    let start = range.start;
    let revision = options.revision;
    for (;;) {
      await this.#reach();
      if (this.#etcd.generation !== generation)
        throw new CodedError("STORE_UNAVAILABLE", { message: "the member was started again" });
      revision ??= this.#etcd.head;
      if (revision < this.#etcd.compacted)
        throw new CodedError("STORE_COMPACTED", { message: `revision ${revision} has been compacted` });
      const all = this.#etcd.list({ start, end: range.end }, revision);
      const kvs = all.slice(0, PAGE);
      const more = all.length > PAGE;
      yield { revision, kvs, more };
      if (!more) return;
      start = `${kvs.at(-1)?.key ?? ""}\0`;
      this.#link.betweenPages();
    }
  }

  async txn(txn: Txn): Promise<TxnResult> {
    await this.#reach();
    return this.#etcd.txn(txn);
  }

  async watch(...[range, after, sink, signal]: Parameters<Store["watch"]>): ReturnType<Store["watch"]> {
    const client = {
      watchClient: {
        watch: async () => {
          if (this.#link.mode === "refuse") throw new Error("14 UNAVAILABLE: connection refused");
          return new SimStream(this.#etcd, this.#link, this.#clock);
        },
      },
    };
    // True: the adapter uses nothing else of the client.
    return watchEtcd(
      client as unknown as Etcd3,
      this.#clock,
      { range, after, inPieces: false },
      sink,
      AbortSignal.any([signal, this.#closing.signal]),
    );
  }

  async grantLease(ttlSeconds: number): Promise<bigint> {
    await this.#reach();
    return this.#etcd.grant(ttlSeconds);
  }

  async keepAlive(lease: bigint): Promise<number> {
    await this.#reach();
    return this.#etcd.keepAlive(lease);
  }

  async revokeLease(lease: bigint): Promise<void> {
    await this.#reach();
    this.#etcd.revoke(lease);
  }

  async compact(revision: Revision): Promise<void> {
    await this.#reach();
    this.#etcd.compact(revision);
  }

  async close(): Promise<void> {
    this.#closing.abort();
  }

  /** A call's way there and back. */
  async #reach(): Promise<void> {
    const link = this.#link;
    const unavailable = (why: string) => new CodedError("STORE_UNAVAILABLE", { message: why });
    if (this.#closing.signal.aborted) throw new CodedError("STORE_CLOSED", { message: "closed" });
    if (link.mode === "refuse") throw unavailable("connection refused");
    if (link.mode === "silent") {
      await sleep(this.#clock, RPC_MS, this.#closing.signal);
      throw unavailable("no answer");
    }
    if (link.delayMs > 0) await sleep(this.#clock, link.delayMs, this.#closing.signal);
    if (link.mode !== "up") throw unavailable("connection lost");
  }
}

interface WireEvent {
  readonly type: "Put" | "Delete";
  readonly kv: Readonly<Record<string, string | Buffer>>;
}

/** One watch stream, as grpc-js gives it to the adapter. */
export class SimStream extends EventEmitter {
  readonly #etcd: SimEtcd;
  readonly #link: Link;
  readonly #clock: Clock;
  #range: KeyRange = { start: "", end: "" };
  /** The next revision to send. */
  #next: Revision = 0n;
  #open = true;
  deaf = false;
  lost = false;
  /** When the last message arrives. */
  #dueMs = 0;
  #held: object[] = [];
  readonly #listener = (): void => this.#pump();

  constructor(etcd: SimEtcd, link: Link, clock: Clock) {
    super();
    this.#etcd = etcd;
    this.#link = link;
    this.#clock = clock;
    link.streams.add(this);
  }

  write(message: {
    readonly create_request?: { key: Buffer; range_end: Buffer; start_revision: string };
    readonly progress_request?: object;
  }): void {
    const { create_request: create } = message;
    if (create) {
      this.#range = { start: create.key.toString(), end: create.range_end.toString() };
      this.#next = BigInt(create.start_revision);
      this.#send({ ...this.#header(), created: true, events: [] });
      this.#etcd.listeners.add(this.#listener);
      this.#pump();
    } else if (this.#link.answersProgress) this.#send({ ...this.#header(), events: [] });
  }

  cancel(): void {
    if (this.#open) this.#end("1 CANCELLED: Cancelled on client");
  }

  pause(): void {}

  resume(): void {}

  fail(text: string): void {
    if (this.#open) this.#end(text);
  }

  flush(): void {
    const held = this.#held;
    this.#held = [];
    for (const message of held) this.#deliver(message);
    this.#pump();
  }

  #end(text: string): void {
    this.#open = false;
    this.#held = [];
    this.#etcd.listeners.delete(this.#listener);
    this.#link.streams.delete(this);
    this.emit("error", new Error(text));
  }

  get #known(): Revision {
    const { lagAt } = this.#link;
    return lagAt !== undefined && lagAt < this.#etcd.head ? lagAt : this.#etcd.head;
  }

  #header(): object {
    return { header: { revision: String(this.#known) }, watch_id: "0", compact_revision: "0", fragment: false };
  }

  /** Sends what this member knows and the watch has not seen. */
  #pump(): void {
    if (!this.#open || this.deaf) return;
    if (this.#next < this.#etcd.compacted) {
      this.#etcd.listeners.delete(this.#listener);
      this.#send({ ...this.#header(), canceled: true, compact_revision: String(this.#etcd.compacted), events: [] });
      return;
    }
    for (const entry of this.#etcd.since(this.#next)) {
      if (entry.revision > this.#known) return;
      this.#next = entry.revision + 1n;
      if (this.#link.loses?.(entry.revision)) continue;
      const events = this.#eventsOf(entry);
      if (events.length === 0) continue;
      const messages = this.#link.fragments ? pieces(events) : [events];
      for (const [i, piece] of messages.entries())
        this.#send({ ...this.#header(), events: piece, fragment: i < messages.length - 1 });
      if (this.#link.repeats) this.#send({ ...this.#header(), events });
    }
  }

  #eventsOf({ revision, changes }: LoggedRevision): WireEvent[] {
    return changes
      .filter(({ key }) => key >= this.#range.start && key < this.#range.end)
      .map((change) => toWire(change, revision));
  }

  /** Messages may be late, but never overtake each other. */
  #send(message: object): void {
    const now = this.#clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs, now + this.#link.delayMs);
    if (this.#dueMs > now) this.#clock.after(this.#dueMs - now, () => this.#deliver(message));
    else this.#deliver(message);
  }

  #deliver(message: object): void {
    if (!this.#open || this.lost) return;
    if (this.#link.mode === "silent" || this.#held.length > 0) this.#held.push(message);
    else queueMicrotask(() => this.#open && this.emit("data", watchBytes(message)));
  }
}

function pieces<T>(items: readonly T[]): T[][] {
  const half = Math.ceil(items.length / 2);
  return items.length < 2 ? [[...items]] : [items.slice(0, half), items.slice(half)];
}

function toWire({ type, key, kv }: Change, revision: Revision): WireEvent {
  const bytes = Buffer.from(key, "utf8");
  if (type === "delete" || !kv) return { type: "Delete", kv: { key: bytes, mod_revision: String(revision) } };
  return {
    type: "Put",
    kv: {
      key: bytes,
      value: kv.value,
      create_revision: String(kv.createRevision),
      mod_revision: String(kv.modRevision),
      version: String(kv.version),
      lease: String(kv.lease),
    },
  };
}
