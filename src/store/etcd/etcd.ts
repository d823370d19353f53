/**
 * The store port on etcd. A write goes to one member and is never repeated once it can have reached it; only one that
 * certainly was not sent is offered to the next member. Reads are, also when they were sent.
 */

import type { Etcd3 } from "etcd3";
import type { Clock } from "../../base/clock.ts";
import { CodedError, isCodedError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type {
  GetResult,
  KeyRange,
  LeaseId,
  ListOptions,
  ListPage,
  Revision,
  Store,
  StoreSource,
  Txn,
  TxnResult,
  WatchEnd,
  WatchSink,
} from "../store.ts";
import { nextTurn } from "../store-follow.ts";
import { checkTxn } from "../store-limits.ts";
import { deadlineIn, type EtcdAccess, type EtcdTls, openEtcd } from "./etcd-client.ts";
import { type CallKind, translate } from "./etcd-errors.ts";
import { toKeyValue, toTxnRequest, toTxnResult } from "./etcd-values.ts";
import { watchEtcd } from "./etcd-watch.ts";
import { FIRST_PAGE, PagePace } from "./page-pace.ts";

export interface EtcdSettings extends EtcdAccess {
  /** `http://host:port` of each member; all http or all https. */
  readonly hosts: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  /** In place of `ca`, `cert` and `key`: asked again for each new client; the same object as long as nothing changed. */
  readonly tls?: () => EtcdTls;
  /** In which a call is answered or fails, whatever members are asked; default 5 s. */
  readonly rpcMs?: number;
}

/** What the members of a source have in common. */
interface Shared {
  /** The last watch was shown more than one message may hold: the next asks for it in pieces. */
  inPieces: boolean;
  /** How many records a first page may have: less where such a page got no answer in time. */
  firstPage: number;
}

/** When a call of gRPC ends, as it takes it. */
type Deadline = { readonly deadline: number };

const RPC_MS = 5_000;
/** gRPC's own deadline comes first: it knows whether a call was sent. */
const GUARD_MS = 100;
const PAGE_SIZE = 500; // decoded in one turn
/** Ranges with more keys are read in sections. */
const UNCUT_KEYS = 20_000;
const SECTION_KEYS = 5_000; // so are these

/** @throws CodedError SETTINGS_INVALID without members */
export function openEtcdSource(settings: EtcdSettings): StoreSource {
  const { hosts } = settings;
  const shared: Shared = { inPieces: false, firstPage: FIRST_PAGE };
  if (hosts.length === 0) throw new CodedError("SETTINGS_INVALID", { message: "no etcd address given" });
  return {
    kind: "etcd",
    open: () => new EtcdStore(settings, hosts, shared),
    openMember: (turn) => new EtcdStore(settings, hosts.slice(turn % hosts.length, (turn % hosts.length) + 1), shared),
  };
}

class EtcdStore implements Store {
  readonly kind = "etcd";
  readonly #settings: EtcdSettings;
  readonly #hosts: readonly string[];
  readonly #shared: Shared;
  readonly #rpcMs: number;
  readonly #clients = new Map<string, { readonly client: Etcd3; readonly tls: EtcdTls | undefined }>();
  readonly #closing = new AbortController();
  /** Calls under way; each can be given up. */
  readonly #calls = new Set<() => void>();
  /** The member calls go to; moves on when it proves useless. */
  #turn: number;
  /** A member was at fault since certificates were last looked at. */
  #failed = false;

  constructor(settings: EtcdSettings, hosts: readonly string[], shared: Shared) {
    this.#settings = settings;
    this.#hosts = hosts;
    this.#shared = shared;
    this.#rpcMs = settings.rpcMs ?? RPC_MS;
    this.#turn = Math.floor(Math.random() * hosts.length);
  }

  async get(key: string, signal?: AbortSignal): Promise<GetResult> {
    const response = await this.#call(
      "read",
      (client, options) => client.kv.range({ key: Buffer.from(key, "utf8"), limit: 1 }, options),
      signal,
    );
    const kv = response.kvs[0];
    return {
      kv: kv === undefined ? undefined : toKeyValue(kv),
      revision: BigInt(response.header.revision),
      clusterId: response.header.cluster_id,
    };
  }

  async *list(range: KeyRange, options: ListOptions = {}): AsyncGenerator<ListPage> {
    const { keysOnly = false, pageSize = PAGE_SIZE, signal } = options;
    const { clock } = this.#settings;
    const whole: Buffer = Buffer.from(range.end, "utf8");
    let start: Buffer = Buffer.from(range.start, "utf8");
    let end = whole;
    let revision = options.revision ?? 0n;
    let isFirst = true;
    const paced = { deadlineMs: this.#rpcMs, clock, shared: this.#shared };
    const pace = new PagePace(pageSize, paced);
    const sections = new PagePace(SECTION_KEYS, paced);
    const fetch = (to: Buffer, limit: number, onlyKeys: boolean) => {
      const request = {
        ...{ key: start, range_end: to, limit, revision: revision.toString(), keys_only: onlyKeys },
        serializable: !isFirst && this.#hosts.length === 1, // pinned, same member: same answer without a quorum trip
      };
      return this.#call("read", (client, options) => client.kv.range(request, options), signal);
    };
    const bytesOf = ({ kvs }: { readonly kvs: readonly { readonly value: Buffer }[] }): number =>
      kvs.reduce((sum, { value }) => sum + value.length, 0);
    const fetchPage = () => pace.run((limit) => fetch(end, limit, keysOnly), bytesOf);
    // etcd 3.4 counts all that is left of a range for each page of it: of long ranges it is asked for a section at a time.
    const fetchAfter = async (last: Buffer | undefined, isSectionOver: boolean) => {
      start = keyAfter(last ?? end);
      if (isSectionOver) {
        const ahead = await sections.run((limit) => fetch(whole, limit, true));
        end = ahead.more ? keyAfter(ahead.kvs.at(-1)?.key ?? whole) : whole;
      }
      return await fetchPage();
    };
    let coming = fetchPage();
    for (;;) {
      const page = await coming;
      await nextTurn(); // decoding it was work enough for one
      const wasFirst = isFirst;
      isFirst = false;
      if (revision === 0n) revision = BigInt(page.header.revision);
      const more = page.more || end !== whole;
      const isSectionOver = !page.more || (wasFirst && !keysOnly && Number(page.count) > UNCUT_KEYS);
      const ask = (): void => {
        coming = fetchAfter(page.kvs.at(-1)?.key, isSectionOver);
        coming.catch(() => undefined); // thrown where it is awaited, if anybody still does
      };
      // On its way while this one is used; who takes only the first page pays for no other.
      if (more && !wasFirst) ask();
      yield { revision, kvs: page.kvs.map(toKeyValue), more };
      if (!more) return;
      if (wasFirst) ask();
    }
  }

  async txn(txn: Txn): Promise<TxnResult> {
    checkTxn(txn);
    const request = toTxnRequest(txn);
    return toTxnResult(txn, await this.#call("write", (client, options) => client.kv.txn(request, options)));
  }

  async watch(range: KeyRange, after: Revision, sink: WatchSink, signal: AbortSignal): Promise<WatchEnd> {
    if (this.#closing.signal.aborted) return { kind: "stopped" };
    const either = AbortSignal.any([signal, this.#closing.signal]);
    const { inPieces } = this.#shared;
    this.#shared.inPieces = false;
    const end = await watchEtcd(this.#client(), this.#settings.clock, { range, after, inPieces }, sink, either);
    if (end.kind === "broken") this.#turn++;
    if (end.kind === "broken" && isCodedError(end.cause, "STORE_TOO_LARGE")) this.#shared.inPieces = true;
    return end;
  }

  async grantLease(ttlSeconds: number): Promise<LeaseId> {
    const response = await this.#call("write", (client, options) =>
      client.leaseClient.leaseGrant({ TTL: Math.ceil(ttlSeconds) }, options),
    );
    return BigInt(response.ID);
  }

  keepAlive(lease: LeaseId): Promise<number> {
    return this.#call("read", (client, options) => keepAliveOnce(client, lease, options)); // repeating it does no harm
  }

  async revokeLease(lease: LeaseId): Promise<void> {
    try {
      await this.#call("write", (client, options) => client.leaseClient.leaseRevoke({ ID: lease.toString() }, options));
    } catch (error) {
      if (!isCodedError(error, "STORE_LEASE_GONE")) throw error; // gone is what was asked for
    }
  }

  async compact(revision: Revision): Promise<void> {
    const request = { revision: revision.toString() };
    await this.#call("write", (client, options) => client.kv.compact(request, options));
  }

  async close(): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort();
    for (const giveUp of this.#calls) giveUp();
    for (const { client } of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  /**
   * One deadline holds for all members that are asked. A read may go on to the next one, so members share what is left of
   * the time; a write that was sent goes nowhere else, so it has all of it.
   */
  async #call<T>(
    kind: CallKind,
    run: (client: Etcd3, options: Deadline) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<T> {
    const { clock } = this.#settings;
    const endMs = clock.monotonicMs() + this.#rpcMs;
    for (let left = this.#hosts.length; ; left--) {
      if (this.#closing.signal.aborted) throw new CodedError("STORE_CLOSED", { message: "the store is closed" });
      const turn = this.#turn;
      this.#forgetOutdated();
      const limitMs = Math.max(1, endMs - clock.monotonicMs()) / (kind === "read" ? left : 1);
      try {
        return await this.#bounded(run(this.#client(), { deadline: deadlineIn(limitMs) }), signal, limitMs + GUARD_MS);
      } catch (thrown) {
        const { error, sent, memberAtFault } = translate(thrown, kind);
        if (memberAtFault) this.#failed = true;
        if (memberAtFault && this.#turn === turn) this.#turn++;
        const isLast = left <= 1 || clock.monotonicMs() >= endMs;
        if ((sent && kind === "write") || !memberAtFault || isLast || signal?.aborted) throw error;
      }
    }
  }

  /** etcd3 authenticates again for ever when a token is refused again and again; the caller need not wait for that. */
  #bounded<T>(call: Promise<T>, signal: AbortSignal | undefined, limitMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const give = (message: string): void => reject(new Error(message));
      const guard = this.#settings.clock.after(limitMs, () => give("no answer in time"));
      const stop = (): void => give("stopped by the caller");
      const closed = (): void => give("the store was closed meanwhile");
      if (signal?.aborted) stop();
      signal?.addEventListener("abort", stop, { once: true });
      this.#calls.add(closed);
      call.then(resolve, reject).finally(() => {
        guard.cancel();
        signal?.removeEventListener("abort", stop);
        this.#calls.delete(closed);
      });
    });
  }

  #client(): Etcd3 {
    const host = this.#hosts[this.#turn % this.#hosts.length] ?? "";
    const held = this.#clients.get(host);
    if (held !== undefined) return held.client;
    const tls = this.#settings.tls?.();
    const client = openEtcd(host, { ...this.#settings, ...tls }, this.#rpcMs);
    this.#clients.set(host, { client, tls });
    return client;
  }

  /** After a failure, clients whose certificates were replaced meanwhile are not used again. */
  #forgetOutdated(): void {
    if (!this.#failed) return;
    this.#failed = false;
    const tls = this.#settings.tls?.();
    for (const [host, held] of this.#clients)
      if (held.tls !== tls) {
        held.client.close();
        this.#clients.delete(host);
      }
  }
}

function keyAfter(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.of(0)]);
}

/** One keep-alive on a stream of its own; etcd3's Lease loop retries every 100 ms without back-off. */
async function keepAliveOnce(client: Etcd3, lease: LeaseId, options: Deadline): Promise<number> {
  const stream = await client.leaseClient.leaseKeepAlive(options);
  try {
    return await new Promise<number>((resolve, reject) => {
      stream.on("data", (response) => resolve(Math.max(0, Number(response.TTL))));
      stream.on("error", reject);
      stream.on("end", () => reject(new Error("etcd ended the keep-alive")));
      stream.write({ ID: lease.toString() });
    });
  } finally {
    stream.cancel();
  }
}
