/**
 * Compares the table with the store now and then: finds what a server's bug or our own made us miss.
 * Reads keys and revisions only, pinned to what was applied when it began; what changes meanwhile is left out.
 */
import type { Clock } from "../base/clock.ts";
import type { Revision, Store } from "../store/store.ts";
import { Slice } from "../store/store-follow.ts";
import type { ControlKeys } from "../store/store-keys.ts";
import type { Table } from "./table.ts";
import type { SyncState } from "./watcher-state.ts";

interface AuditContext {
  readonly state: SyncState;
  readonly table: Table;
  readonly keys: ControlKeys;
  readonly clock: Clock;
  readonly random: () => number;
}

/** Every 10 minutes ± 50 %, so that nodes do not come together. */
const PERIOD_MS = 600_000;

/** Calls `different` once when a difference was found. Returns the way to stop. */
export function startAudit(store: Store, context: AuditContext, different: () => void): { stop(): void } {
  const { clock, state } = context;
  const stopping = new AbortController();
  const plan = (): void => {
    const timer = clock.after(PERIOD_MS * (0.5 + context.random()), () => {
      run().catch(() => {
        if (!stopping.signal.aborted) plan(); // unreachable or compacted meanwhile: the next one will do
      });
    });
    stopping.signal.addEventListener("abort", () => timer.cancel(), { once: true });
  };
  const run = async (): Promise<void> => {
    const differences = await audit(store, context, stopping.signal);
    if (stopping.signal.aborted) return;
    state.auditDifferences += differences;
    if (differences > 0) different();
    else plan();
  };
  plan();
  return { stop: () => stopping.abort() };
}

/** @returns how many keys differ: missing, too many, or at another revision */
export async function audit(store: Store, context: AuditContext, signal: AbortSignal): Promise<number> {
  const { state, table, keys, clock } = context;
  const changed = new Set<string>();
  const unsubscribe = table.subscribe((batch) => {
    for (const { key } of batch.changes) changed.add(key);
  });
  try {
    const revision: Revision = state.applied;
    const seen = new Set<string>();
    const slice = new Slice(clock);
    let differences = 0;
    for await (const page of store.list(keys.records, { revision, keysOnly: true, signal })) {
      slice.restart();
      for (const { key, modRevision } of page.kvs) {
        if (key.startsWith(keys.control) || !table.accepts(key)) continue;
        seen.add(key);
        if (!changed.has(key) && table.get(key)?.modRevision !== modRevision) differences++;
        if (slice.isOver()) await slice.yield();
      }
    }
    for (const key of table.keys()) {
      if (!seen.has(key) && !changed.has(key)) differences++;
      if (slice.isOver()) await slice.yield();
    }
    return differences;
  } finally {
    unsubscribe();
  }
}
