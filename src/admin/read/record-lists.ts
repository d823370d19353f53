/**
 * Lists that are kept while somebody pages through them: read once, then held by one watch, so that a page costs its own
 * records only.
 * Promise: a page shows a revision that is not before its call: the store's head is asked for each, and a watch that has not
 * come as far answers nothing. Memory has a limit; what is not asked for, too large or not watchable is not kept.
 */
import type { Timer } from "../../base/clock.ts";
import { dirOf, parseKey } from "../../model/keys.ts";
import type { Kind, KindName } from "../../model/kinds.ts";
import { type Change, prefixRange, type Revision } from "../../store/store.ts";
import { Slice } from "../../store/store-follow.ts";
import type { StoreSide } from "../admin-context.ts";
import { storeIdentityKey } from "../store-paths.ts";
import { type ListedRecord, ListIndex } from "./list-index.ts";
import type { ListQuery } from "./list-query.ts";

export interface ListedPage {
  readonly keys: readonly string[];
  readonly total: number;
  /** At which this is so. */
  readonly revision: Revision;
}

export interface RecordLists {
  /** @returns undefined when the store itself has to be read. @throws CodedError STORE_* */
  page(kind: Kind, query: ListQuery): Promise<ListedPage | undefined>;
  stop(): Promise<void>;
}

/** Of all kinds together; about 400,000 routes. */
const BYTES_MAX = 128 * 2 ** 20;
const IDLE_MS = 15 * 60_000;
const TIDY_MS = 60_000;
/** How long a watch may be behind the head that was read. */
const BEHIND_MS = 1_000;
/** A watch that was behind is asked again after this. */
const DOUBTED_MS = 10_000;
/** What cannot be kept, as it is too large or may not be watched, is tried again after this. */
const GIVEN_UP_MS = 600_000;
/** Changes while a list is read. */
const LATER_MAX = 10_000;

interface KeptList {
  readonly index: ListIndex;
  /** It is as the store was then. */
  revision: Revision;
  /** While it is read: what is to be applied then. */
  later: { readonly revision: Revision; readonly changes: readonly Change[] }[] | undefined;
  loading: Promise<boolean>;
  usedMs: number;
}

/** From one opened watch to its end. */
interface KeptSession {
  readonly lists: Map<KindName, KeptList>;
  readonly waiters: Set<() => void>;
  readonly ending: AbortController;
  /** Everything up to it was shown. */
  applied: Revision;
}

export function openRecordLists(side: StoreSide): RecordLists {
  return new KeptLists(side);
}

class KeptLists implements RecordLists {
  readonly #side: StoreSide;
  /** Until when the store itself is read; of all kinds under "". */
  readonly #givenUp = new Map<KindName | "", number>();
  #session: KeptSession | undefined;
  #watching: Promise<void> = Promise.resolve();
  #tidy: Timer | undefined;
  #isStopped = false;

  constructor(side: StoreSide) {
    this.#side = side;
  }

  async page(kind: Kind, query: ListQuery): Promise<ListedPage | undefined> {
    if (this.#isStopped || this.#isGivenUp("") || this.#isGivenUp(kind.name)) return undefined;
    const { revision: head } = await this.#side.store.get(storeIdentityKey(this.#side.prefix));
    if (this.#isStopped) return undefined;
    const session = this.#session ?? this.#open(head);
    const kept = session.lists.get(kind.name) ?? this.#read(session, kind);
    kept.usedMs = this.#side.clock.monotonicMs();
    if (!(await kept.loading) || !(await this.#reached(session, kept, head))) return undefined;
    if (session.lists.get(kind.name) !== kept) return undefined; // not kept any more, so it may have stood still
    const { revision } = kept;
    const { number, size } = query.page ?? { number: 1, size: kept.index.order.length };
    const { matches } = query;
    const found = matches ? await this.#matching([...kept.index.order], matches) : kept.index.order;
    const keys = found.slice((number - 1) * size, number * size).map(({ key }) => key);
    return { keys, total: found.length, revision };
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#end();
    await this.#watching;
  }

  async #matching(
    order: readonly ListedRecord[],
    matches: NonNullable<ListQuery["matches"]>,
  ): Promise<readonly ListedRecord[]> {
    const slice = new Slice(this.#side.clock);
    const found: ListedRecord[] = [];
    for (const record of order) {
      if (record.value && matches(record.value, record.id)) found.push(record);
      if (slice.isOver()) await slice.yield();
    }
    return found;
  }

  #isGivenUp(name: KindName | ""): boolean {
    return (this.#givenUp.get(name) ?? 0) > this.#side.clock.monotonicMs();
  }

  #giveUp(name: KindName | "", why: string, forMs = GIVEN_UP_MS): void {
    this.#side.log.debug({ kind: name, why }, "a list is read from the store");
    this.#givenUp.set(name, this.#side.clock.monotonicMs() + forMs);
  }

  /** Watches all keys of the prefix, so that a revision of the store is one that the watch shows. */
  #open(head: Revision): KeptSession {
    const { store, prefix, clock } = this.#side;
    const session: KeptSession = {
      ...{ lists: new Map(), waiters: new Set(), ending: new AbortController(), applied: head },
    };
    this.#session = session;
    const batch = (revision: Revision, changes: readonly Change[]): void => this.#take(session, revision, changes);
    const sink = { created: () => {}, progress: () => {}, batch };
    this.#watching = store.watch(prefixRange(prefix), head, sink, session.ending.signal).then((end) => {
      if (end.kind === "refused") this.#giveUp("", end.reason);
      if (this.#session === session) this.#end();
    });
    this.#tidy ??= clock.every(TIDY_MS, () => this.#dropIdle());
    return session;
  }

  #end(): void {
    const session = this.#session;
    this.#session = undefined;
    this.#tidy?.cancel();
    this.#tidy = undefined;
    session?.ending.abort();
    for (const wake of session?.waiters ?? []) wake();
    session?.lists.clear();
  }

  #dropIdle(): void {
    const lists = this.#session?.lists;
    const oldest = this.#side.clock.monotonicMs() - IDLE_MS;
    for (const [name, { usedMs }] of lists ?? []) if (usedMs < oldest) lists?.delete(name);
    if (lists?.size === 0) this.#end();
  }

  #read(session: KeptSession, kind: Kind): KeptList {
    const index = new ListIndex(kind, this.#side.prefix);
    const kept: KeptList = { index, revision: 0n, later: [], loading: Promise.resolve(false), usedMs: 0 };
    session.lists.set(kind.name, kept);
    kept.loading = this.#load(session, kind, kept).catch((error: unknown) => {
      session.lists.delete(kind.name);
      throw error;
    });
    return kept;
  }

  async #load(session: KeptSession, kind: Kind, kept: KeptList): Promise<boolean> {
    const { store, prefix } = this.#side;
    const isKept = (): boolean => session.lists.get(kind.name) === kept;
    for await (const page of store.list(prefixRange(dirOf(prefix, kind.name)))) {
      if (!isKept()) return false;
      kept.revision = page.revision;
      kept.index.load(page.kvs);
      if (!this.#makeRoom(session, kind.name)) return false;
    }
    if (!isKept()) return false;
    kept.index.sort();
    for (const { revision, changes } of kept.later ?? []) if (revision > kept.revision) kept.index.apply(changes);
    kept.later = undefined;
    if (session.applied > kept.revision) kept.revision = session.applied;
    return true;
  }

  /** Others go first. @returns whether this one may stay */
  #makeRoom(session: KeptSession, name: KindName): boolean {
    const sum = (): number => [...session.lists.values()].reduce((all, { index }) => all + index.bytes, 0);
    const others = [...session.lists].filter(([other]) => other !== name).sort(([, a], [, b]) => a.usedMs - b.usedMs);
    for (const [other] of others) {
      if (sum() <= BYTES_MAX) return true;
      session.lists.delete(other);
    }
    if (sum() <= BYTES_MAX) return true;
    session.lists.delete(name);
    this.#giveUp(name, "it is too large to be kept");
    return false;
  }

  #take(session: KeptSession, revision: Revision, changes: readonly Change[]): void {
    const { prefix } = this.#side;
    const byKind = new Map<KindName, Change[]>();
    for (const change of session.lists.size > 0 ? changes : []) {
      const name = parseKey(prefix, change.key)?.kind;
      if (name === undefined || !session.lists.has(name)) continue;
      const known = byKind.get(name);
      if (known) known.push(change);
      else byKind.set(name, [change]);
    }
    for (const [name, own] of byKind) {
      const kept = session.lists.get(name);
      if (kept?.later) {
        kept.later.push({ revision, changes: own });
        if (kept.later.length > LATER_MAX) session.lists.delete(name);
      } else if (kept && revision > kept.revision) {
        kept.index.apply(own);
        this.#makeRoom(session, name);
      }
    }
    session.applied = revision;
    for (const kept of session.lists.values()) if (!kept.later && revision > kept.revision) kept.revision = revision;
    for (const wake of session.waiters) wake();
  }

  /** Whether the list shows all of `head`; a store that others share moves on without showing why. */
  async #reached(session: KeptSession, kept: KeptList, head: Revision): Promise<boolean> {
    const isFresh = (): boolean => kept.revision >= head;
    if (isFresh()) return true;
    const { clock } = this.#side;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        timer.cancel();
        session.waiters.delete(wake);
        resolve();
      };
      const wake = (): void => {
        if (isFresh() || this.#session !== session) done();
      };
      const timer = clock.after(BEHIND_MS, done);
      session.waiters.add(wake);
    });
    if (isFresh()) return true;
    this.#giveUp("", "its watch is behind the store", DOUBTED_MS);
    return false;
  }
}
