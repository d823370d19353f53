/**
 * One session of a watcher: one connection to one member, used until the first doubt. Probe → list if needed → watch.
 * Promise: what is applied is exactly what the store showed, of the store the node belongs to; `applied` moves only
 * with events or a completed list.
 */
import type { Clock } from "../base/clock.ts";
import { isCodedError, messageOf } from "../base/errors.ts";
import type { Change, KeyValue, Revision, Store, WatchEnd } from "../store/store.ts";
import { parseIdentity, type StoreIdentity } from "../store/store-identity.ts";
import type { ControlKeys } from "../store/store-keys.ts";
import { audit, startAudit } from "./audit.ts";
import { judge } from "./store-acceptance.ts";
import type { ListReason, SessionEnd } from "./sync-status.ts";
import type { Table } from "./table.ts";
import type { SyncState } from "./watcher-state.ts";

/** One of our own keys under `P/jotgate/` was written or deleted. */
export interface ControlChange {
  readonly key: string;
  /** Undefined when it was deleted. */
  readonly kv: KeyValue | undefined;
  /** Of the batch or list it came with. */
  readonly revision: Revision;
}

export interface SessionContext {
  readonly state: SyncState;
  readonly table: Table;
  readonly keys: ControlKeys;
  readonly clock: Clock;
  readonly random: () => number;
  /** The watch is open. */
  opened(): void;
  /** Everything up to `revision` is applied. */
  applied(revision: Revision): void;
  control(change: ControlChange): void;
}

const BEAT_CHECK_MS = 10_000;
/** A list that is compacted away under our hands is begun again this often. */
const LIST_ATTEMPTS = 3;

export async function runSession(store: Store, context: SessionContext, signal: AbortSignal): Promise<SessionEnd> {
  const { state } = context;
  try {
    const refused = await probe(store, context, signal);
    if (refused !== undefined) return refused;
    if (state.listNext !== undefined) {
      const end = await list(store, context, state.listNext, signal);
      if (end !== undefined) return end;
    }
  } catch (thrown) {
    if (signal.aborted) return "stopped";
    if (!isCodedError(thrown)) throw thrown; // a consumer's own error
    if (thrown.code === "STORE_COMPACTED") return "compacted";
    if (thrown.code === "CONFIG_INVALID") {
      state.reachable = true; // the file is there, what it says is wrong
      state.report("file-invalid", thrown.message);
      return "refused";
    }
    state.reachable = thrown.code === "STORE_DENIED";
    state.report(thrown.code === "STORE_DENIED" ? "store-refused" : "store-unreachable", thrown.message);
    return thrown.code === "STORE_DENIED" ? "refused" : "unreachable";
  }
  return await watch(store, context, signal);
}

/** Proves that the member has a leader, and that the store is the one we belong to. */
async function probe(store: Store, context: SessionContext, signal: AbortSignal): Promise<SessionEnd | undefined> {
  const { state, table, keys } = context;
  const { kv, revision, clusterId } = await store.get(keys.identity, signal);
  const identity = parseIdentity(kv?.value);
  state.reachable = true;
  state.sawHead(revision);
  if (state.loaded && table.size > 0) {
    const verdict = judge(state, { identity, head: revision });
    if (verdict.kind === "foreign") return foreign(state, identity, verdict.reason);
    if (verdict.kind === "raised") state.listNext = "raised";
    else if (state.doubted && !(await isAsHeld(store, context, signal)))
      return foreign(state, identity, `it differs from what is held at revision ${state.applied}`);
  } else state.listNext ??= "first"; // nothing is held, so any store is welcome
  state.clusterId = clusterId;
  state.doubted = false;
  return undefined;
}

function foreign(state: SyncState, identity: StoreIdentity | undefined, reason: string): SessionEnd {
  state.doubted = true;
  state.refused = identity;
  state.report("store-changed", `this is another store, what is held stays: ${reason}`);
  return "foreign";
}

/** Ours is back, or a restored one was carried past our revision by beats and registrations: then it differs there. */
async function isAsHeld(store: Store, context: SessionContext, signal: AbortSignal): Promise<boolean> {
  try {
    return (await audit(store, context, signal)) === 0;
  } catch (thrown) {
    if (isCodedError(thrown, "STORE_COMPACTED")) return false; // nothing can be proven any more
    throw thrown;
  }
}

async function list(
  store: Store,
  context: SessionContext,
  why: ListReason,
  signal: AbortSignal,
): Promise<SessionEnd | undefined> {
  for (let attempt = 1; ; attempt++) {
    context.state.listed(why);
    try {
      return await listOnce(store, context, signal);
    } catch (error) {
      if (attempt >= LIST_ATTEMPTS || !isCodedError(error, "STORE_COMPACTED")) throw error;
    }
  }
}

async function listOnce(store: Store, context: SessionContext, signal: AbortSignal): Promise<SessionEnd | undefined> {
  context.state.listing = true;
  try {
    return await applyList(store, context, signal);
  } finally {
    context.state.listing = false;
  }
}

async function applyList(store: Store, context: SessionContext, signal: AbortSignal): Promise<SessionEnd | undefined> {
  const { state, table, keys } = context;
  const serving = state.loaded && table.size > 0;
  const control: KeyValue[] = [];
  let listing: ReturnType<Table["beginList"]> | undefined;
  let revision: Revision = 0n;
  let keysSeen = 0;
  for await (const page of store.list(keys.records, { signal })) {
    revision = page.revision;
    keysSeen += page.kvs.length;
    listing ??= table.beginList(revision, serving);
    const records = page.kvs.filter((kv) => !kv.key.startsWith(keys.control));
    if (records.length < page.kvs.length) control.push(...page.kvs.filter((kv) => kv.key.startsWith(keys.control)));
    await listing.page(records);
  }
  if (keysSeen === 0 && serving) {
    state.report("store-changed", `the store shows nothing under ${keys.records.start}, what is held stays`);
    return "foreign";
  }
  await listing?.commit();
  state.applied = revision;
  state.identity = parseIdentity(control.find((kv) => kv.key === keys.identity)?.value);
  state.listNext = undefined;
  state.refused = undefined;
  // A new node waits for the first record or placeholder: nothing at all is rather a wrong prefix than a configuration.
  if (keysSeen > 0) state.loaded = true;
  else state.report("store-empty", `there is nothing under ${keys.records.start}`);
  state.listing = false;
  state.tookList();
  for (const kv of control) takeControl(context, { key: kv.key, kv, revision });
  context.applied(revision);
  return undefined;
}

async function watch(store: Store, context: SessionContext, signal: AbortSignal): Promise<SessionEnd> {
  const { state, table, keys, clock } = context;
  const doubt = new AbortController();
  let doubted: SessionEnd | undefined;
  const end = (why: SessionEnd): void => {
    doubted ??= why;
    doubt.abort();
  };
  const beats = clock.every(
    BEAT_CHECK_MS,
    checkBeat(store, context, () => end("dead")),
  );
  const audit = startAudit(store, context, () => end("audit"));
  const ended = await store.watch(
    keys.records,
    state.applied,
    {
      created(head) {
        state.opened(head);
        if (!state.isFailing) context.opened();
      },
      batch(revision, changes) {
        state.noteContact();
        if (revision > state.head) state.sawHead(revision);
        const records = changes.filter((change) => !change.key.startsWith(keys.control));
        try {
          if (records.length > 0) table.apply(revision, records);
        } catch (thrown) {
          state.failed(revision, messageOf(thrown));
          throw thrown;
        }
        state.applied = revision;
        state.loaded = true;
        state.tookIn();
        if (records.length < changes.length) takeControls(context, revision, changes);
        context.applied(revision);
      },
      progress(head) {
        state.shown(head);
      },
    },
    AbortSignal.any([signal, doubt.signal]),
  );
  beats.cancel();
  audit.stop();
  return doubted ?? endOf(ended, state);
}

function takeControls(context: SessionContext, revision: Revision, changes: readonly Change[]): void {
  for (const { key, kv } of changes)
    if (key.startsWith(context.keys.control)) takeControl(context, { key, kv, revision });
}

function takeControl(context: SessionContext, change: ControlChange): void {
  const { state, keys, clock } = context;
  if (change.key === keys.identity) state.identity = parseIdentity(change.kv?.value);
  else if (change.key === keys.beat) {
    const writtenMs = beatTime(change.kv?.value);
    if (writtenMs !== undefined) state.beat = { writtenMs, receivedMs: clock.nowMs() };
  }
  context.control(change);
}

/** Reads the beat beside the watch: one that the watch does not show within a period means that the watch is dead, whatever it says. */
function checkBeat(store: Store, context: SessionContext, dead: () => void): () => void {
  const { state, keys } = context;
  let expected: Revision = 0n;
  const read = async (): Promise<void> => {
    const { kv, revision } = await store.get(keys.beat);
    state.sawHead(revision);
    const seen = kv?.modRevision ?? 0n;
    state.owes(seen);
    if (expected > state.applied) {
      state.report("store-silent", `the watch did not show revision ${expected}`);
      dead();
    }
    expected = seen > state.applied ? seen : 0n;
  };
  return () => {
    read().catch(() => {
      expected = 0n; // no answer proves nothing about the watch, which has its own signs of life
    });
  };
}

function beatTime(value: Buffer | undefined): number | undefined {
  try {
    const parsed: unknown = JSON.parse(value?.toString("utf8") ?? "null");
    const at = typeof parsed === "object" && parsed !== null ? (parsed as { at?: unknown }).at : undefined;
    return typeof at === "number" ? at : undefined;
  } catch {
    return undefined; // not written by us; then it only shows that the watch moves
  }
}

function endOf(end: WatchEnd, state: SyncState): SessionEnd {
  switch (end.kind) {
    case "refused":
      state.report("store-refused", end.reason);
      break;
    case "broken":
      if (state.isFailing) break; // that is said already
      state.report("store-unreachable", messageOf(end.cause));
      break;
    case "behind":
      state.report("store-unreachable", `the member is at revision ${end.head}, behind ${state.applied}`);
      break;
    case "stopped":
    case "compacted":
      break;
  }
  return end.kind;
}
