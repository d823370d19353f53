/**
 * Keeps the store's revocations small: merges batches of an hour that are of one size, and takes away what has ended.
 * Every admin does it; whoever comes second finds its transaction refused, and nothing is lost.
 * Promise: a merged batch holds all that its parts held and that has not ended; gateways forget by time, not by this.
 */
import { randomBytes } from "node:crypto";
import type { Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import {
  decodeBatch,
  encodeBatch,
  endOfHour,
  HOUR_UNKNOWN,
  hourDir,
  type RevokedToken,
  rulesDir,
  tokensIn,
} from "../../model/revocation.ts";
import type { AdminContext } from "../admin-context.ts";
import { Plan } from "../write/write-plan.ts";
import { listBatches, listRules, type StoredBatch, type StorePart } from "./revocation-store.ts";
import { BATCH_ENTRIES, type RevocationLimits } from "./revocation-writer.ts";

const EVERY_MS = 60_000;
const MERGE_PARTS = 8;
/** Batches of tokens without a known end are read for what has ended this often. */
const UNKNOWN_EVERY_MS = 24 * 3_600_000;
const DELETED_AT_ONCE = 100;

type TidyPart = StorePart & Pick<AdminContext, "clock"> & { readonly revocations: Pick<RevocationLimits, "keepMs"> };

/** @returns the way to stop it; resolves when nothing is under way */
export function keepRevocations(admin: AdminContext): () => Promise<void> {
  let running: Promise<void> | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  let unknownReadMs = Number.NEGATIVE_INFINITY;
  const plan = (): void => {
    timer = admin.clock.after(EVERY_MS * (0.5 + Math.random()), () => {
      const isUnknownDue = admin.clock.monotonicMs() - unknownReadMs >= UNKNOWN_EVERY_MS;
      if (isUnknownDue) unknownReadMs = admin.clock.monotonicMs();
      running = tidyRevocations(admin, isUnknownDue)
        .catch((error) => admin.log.debug({ error: messageOf(error) }, "revocations could not be tidied")) // next time
        .finally(() => {
          running = undefined;
          if (!stopped) plan();
        });
    });
  };
  plan();
  return async () => {
    stopped = true;
    timer?.cancel();
    await running;
  };
}

/** One round. @param andUnknown look through tokens without a known end too @throws CodedError STORE_* */
export async function tidyRevocations(admin: TidyPart, andUnknown = true): Promise<void> {
  const nowSeconds = admin.clock.nowMs() / 1_000;
  const overBefore = nowSeconds - admin.revocations.keepMs / 1_000;
  const batches = await listBatches(admin);
  const isOver = ({ hour }: StoredBatch): boolean => hour !== HOUR_UNKNOWN && endOfHour(hour) <= overBefore;
  await remove(admin, batches.filter(isOver));
  const rules = await listRules(admin);
  const over = rules.filter(({ rule }) => rule.until < nowSeconds);
  await remove(
    admin,
    over.map(({ name, modRevision }) => ({ key: `${rulesDir(admin.prefix)}${name}`, modRevision })),
  );
  for (const group of mergeable(batches.filter((batch) => !isOver(batch)))) await merge(admin, group, overBefore);
  if (andUnknown) await forgetUnknown(admin, overBefore);
}

/** Groups of up to eight that together are one batch, of one hour and class: 1–8, 9–64, 65–512, … entries. */
function mergeable(batches: readonly StoredBatch[]): readonly (readonly StoredBatch[])[] {
  const classes = new Map<string, StoredBatch[]>();
  for (const batch of batches) {
    const name = `${batch.hour} ${Math.max(1, Math.ceil(Math.log(Math.max(1, batch.entries)) / Math.log(MERGE_PARTS) - 1e-9))}`;
    classes.set(name, [...(classes.get(name) ?? []), batch]);
  }
  const groups: StoredBatch[][] = [];
  for (const all of classes.values()) {
    for (let at = 0; at + MERGE_PARTS <= all.length; ) {
      const group: StoredBatch[] = [];
      for (let sum = 0; group.length < MERGE_PARTS; ) {
        const next = all[at + group.length];
        if (!next || sum + next.entries > BATCH_ENTRIES) break;
        sum += next.entries;
        group.push(next);
      }
      if (group.length > 1) groups.push(group);
      at += Math.max(1, group.length);
    }
  }
  return groups;
}

async function merge(admin: TidyPart, group: readonly StoredBatch[], overBefore: number): Promise<void> {
  const { store, prefix, clock } = admin;
  const plan = new Plan();
  const kept = new Map<string, RevokedToken>();
  let newestMs = 0;
  for (const { key, modRevision } of group) {
    const { kv } = await store.get(key);
    const batch = kv && decodeBatch(kv.value);
    if (!batch || typeof batch === "string" || kv.modRevision !== modRevision) return; // somebody was faster
    newestMs = Math.max(newestMs, batch.writtenMs);
    for (const token of tokensIn(batch)) {
      const { a, b, c, d } = token.fingerprint;
      const name = `${a},${b},${c},${d}`;
      const known = kept.get(name);
      if (token.until >= overBefore && (known?.until ?? 0) < token.until) kept.set(name, token);
    }
    plan.expect(key, modRevision).delete(key);
  }
  if (kept.size > 0) {
    const name = `${randomBytes(4).toString("hex")}-m${clock.nowMs()}-${kept.size}`;
    const key = `${hourDir(prefix, group[0]?.hour ?? HOUR_UNKNOWN)}${name}`;
    plan.expect(key, 0n).put(key, encodeBatch([...kept.values()], newestMs));
  }
  await store.txn(plan.toTxn()); // refused when somebody was faster
}

/** Batches of which every token has ended. */
async function forgetUnknown(admin: TidyPart, overBefore: number): Promise<void> {
  const ended: StoredBatch[] = [];
  for (const batch of await listBatches(admin)) {
    if (batch.hour !== HOUR_UNKNOWN) continue;
    const { kv } = await admin.store.get(batch.key);
    const decoded = kv && decodeBatch(kv.value);
    if (!decoded || typeof decoded === "string") continue;
    if (tokensIn(decoded).every(({ until }) => until < overBefore)) ended.push(batch);
  }
  await remove(admin, ended);
}

async function remove(admin: TidyPart, keys: readonly Pick<StoredBatch, "key" | "modRevision">[]): Promise<void> {
  for (let at = 0; at < keys.length; at += DELETED_AT_ONCE) {
    const plan = new Plan();
    for (const { key, modRevision } of keys.slice(at, at + DELETED_AT_ONCE)) plan.expect(key, modRevision).delete(key);
    await admin.store.txn(plan.toTxn()); // refused when somebody was faster: the next round sees what is left
  }
}
