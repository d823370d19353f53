/**
 * Keeps one process in step with the store: table, watch, and the last-known-good file; and, for the one process that
 * speaks for its node, the node's place in the registry and its acknowledgements.
 * Promise: following never waits for the store, neither to start nor to stop.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { Acknowledger, type RecordRefusal } from "../cluster/acknowledge.ts";
import { nodesInBeat } from "../cluster/beat.ts";
import { HandIn } from "../cluster/hand-in.ts";
import { type NodeReport, Registration } from "../cluster/registry.ts";
import { parseKey } from "../model/keys.ts";
import { parseRevocationKey } from "../model/revocation.ts";
import type { Use } from "../model/usage.ts";
import type { Settings } from "../settings/settings.ts";
import type { Revision, StoreSource } from "../store/store.ts";
import { LastKnownGood } from "../sync/lkg/last-known-good.ts";
import { readLastKnownGood } from "../sync/lkg/lkg-reader.ts";
import { openSealer, type Sealer } from "../sync/lkg/sealer.ts";
import type { LastKnownGoodStatus, SavedPosition } from "../sync/sync-status.ts";
import { type RecordConsumer, Table } from "../sync/table.ts";
import { Watcher } from "../sync/watcher.ts";
import { type ModifyIndexes, trackModifyIndexes } from "./control-facts.ts";
import { forgetSeries } from "./node-metrics.ts";

/** What the process that speaks for a node needs to do so. */
export interface Membership {
  /** Id in the node registry. */
  readonly id: string;
  readonly report: () => NodeReport;
  /** Resolves when every worker has applied `revision`; default: at once. */
  readonly settled?: (revision: Revision) => Promise<unknown>;
}

export interface FollowOptions {
  readonly settings: Settings;
  readonly source: StoreSource;
  readonly consumer: RecordConsumer;
  /** Resolves when it is known whether newly taken records can be used, after a bounded time. */
  readonly judged?: (() => Promise<unknown>) | undefined;
  /** The newest records that were not taken, or refuse requests. */
  readonly refusals?: (() => readonly RecordRefusal[]) | undefined;
  /** The node's own folder; the file lies in it. */
  readonly folder: string;
  /** Undefined: this process is a worker, which reads the file and leaves everything else to its primary. */
  readonly membership: Membership | undefined;
  /** After each applied revision or list. */
  readonly onApplied?: ((revision: Revision) => void) | undefined;
  /** How a worker begins: fills the table from its primary; resolves undefined when the file is as new. */
  readonly inherit?: ((table: Table) => Promise<SavedPosition | undefined>) | undefined;
  /** What this process has used since it was asked last; default: nothing, workers tell. */
  readonly takeUses?: (() => readonly Use[]) | undefined;
  /** Where series of records that are deleted are forgotten. */
  readonly series: Pick<Metrics, "forget">;
  readonly clock: Clock;
  readonly log: Log;
}

export interface Follower {
  readonly table: Table;
  readonly watcher: Watcher;
  /** Wall time of the last change of a record; undefined before the first. */
  changedAtMs(): number | undefined;
  /** How the last-known-good file is doing; undefined where another process keeps it, or none is needed. */
  copy(): LastKnownGoodStatus | undefined;
  modifyIndexes(): ModifyIndexes;
  /** What another process of this node has used. */
  noteUses(uses: readonly Use[]): void;
  /** Registers the node, once it can serve; resolves when that was tried, with the store away after a second. */
  join(): Promise<void>;
  /** Takes the registration back, so that nobody waits for this node any more. */
  leave(): Promise<void>;
  stop(): Promise<void>;
}

/** Resolves when the file was read; the watch has begun then. */
export async function followStore(options: FollowOptions): Promise<Follower> {
  const { settings, source, consumer, membership, clock, log } = options;
  const { prefix } = settings;
  let changedAtMs: number | undefined;
  const table = new Table({
    clock,
    accepts: (key) => (parseKey(prefix, key) ?? parseRevocationKey(prefix, key)) !== undefined,
    consumer: {
      apply(batch, taken) {
        changedAtMs = clock.nowMs();
        return consumer.apply(batch, taken);
      },
      forget(key, record) {
        forgetSeries(options.series, prefix, key);
        consumer.forget?.(key, record);
      },
    },
  });
  const modifyIndexes = trackModifyIndexes(table, prefix);
  if (source.kind !== "file") mkdirSync(options.folder, { recursive: true, mode: 0o700 });
  else makeIfPossible(options.folder);
  const { keyring } = settings.encryption;
  const sealer = keyring.length > 0 ? openSealer(keyring, "last-known-good") : undefined;
  const file = join(options.folder, "last-known-good");
  // The embedded store is on this very disk: a copy beside it could only be older.
  const copied = source.kind !== "embedded";
  const copy =
    copied && membership !== undefined ? new LastKnownGood({ file, prefix, table, clock, log, sealer }) : undefined;
  const restore = async (): Promise<SavedPosition | undefined> =>
    (await options.inherit?.(table)) ?? (await readCopy(file, prefix, sealer, table, clock));
  const saved = copied ? await (copy?.restore() ?? restore()) : undefined;
  // Revisions of a file are this machine's time, which may go back: it is compared whole.
  const restored = saved && source.kind === "file" ? { ...saved, applied: 0n } : saved;

  const isShared = source.kind !== "file"; // nobody else sees a registry in a file
  const duties = membership && isShared ? takeDuties(membership, options, copy) : undefined;
  let nodes = 1;
  const watcher = new Watcher({
    ...{ source, table, prefix, clock, log, restored },
    nodes: () => nodes,
    onOpened: () => duties?.registration.look(),
    onControl(change) {
      duties?.acknowledger.control(change);
      if (change.key === watcher.keys.beat && change.kv) nodes = nodesInBeat(change.kv.value) ?? nodes;
    },
    ...(options.onApplied ? { onApplied: options.onApplied } : {}),
  });
  watcher.start();
  copy?.start(() => (watcher.facts().loaded ? watcher.position() : undefined));
  return {
    table,
    watcher,
    changedAtMs: () => changedAtMs,
    copy: () => copy?.facts(),
    modifyIndexes,
    noteUses: (uses) => duties?.handIn?.add(uses),
    async join() {
      duties?.handIn?.start();
      await duties?.registration.start();
    },
    leave: async () => duties?.registration.stop(),
    async stop() {
      await duties?.handIn?.stop();
      await duties?.acknowledger.stop();
      await watcher.stop();
      await copy?.stop();
      await duties?.store.close();
    },
  };
}

/** A container may have no folder to write to; the file is its configuration all the same. */
function makeIfPossible(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch {
    // The last-known-good file, which cannot be written then, says so on /config.
  }
}

function takeDuties(membership: Membership, options: FollowOptions, copy: LastKnownGood | undefined) {
  const { settings, source, clock, log } = options;
  const { prefix } = settings;
  const { id, report } = membership;
  const store = source.open();
  const onAgain = (): void => acknowledger.again();
  const registration = new Registration({ store, prefix, id, report, clock, log, onAgain });
  const lease = (): ReturnType<Registration["lease"]> => registration.lease();
  // What a node acknowledges it keeps: in all of its workers, and over a restart with the store away.
  const settled = (revision: Revision): Promise<unknown> =>
    Promise.all([membership.settled?.(revision), copy?.keep(revision), options.judged?.()]);
  const acknowledger = new Acknowledger({
    ...{ store, prefix, id, log, lease, settled, state: report },
    refusals: options.refusals,
  });
  const everyMs = settings.usage.intervalMs;
  const handIn =
    everyMs === undefined
      ? undefined
      : new HandIn({ store, prefix, id, everyMs, take: options.takeUses ?? (() => []), clock, log });
  return { store, registration, acknowledger, handIn };
}

/** Reads a file that another process writes. What is wrong with it, that process says. */
async function readCopy(
  file: string,
  prefix: string,
  sealer: Sealer | undefined,
  table: Table,
  clock: Clock,
): Promise<SavedPosition | undefined> {
  const read = await readLastKnownGood(file, prefix, sealer, clock);
  if (read.kind !== "sound") return undefined;
  await table.restore(read.records.values(), read.position.applied);
  return read.position;
}
