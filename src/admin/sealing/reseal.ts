/**
 * `POST /encryption/reseal`: brings the secrets of all records, and of what the history keeps for rollbacks, under the
 * first key of the keyring and its format; nothing else of them changes.
 * Promise: page by page in bounded memory; a record is written only if it is still what was read, so no update is lost;
 * what is as it should be is not written, so the call may be repeated, or go on after one that was cut off.
 */
import { dirOf, parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import { type KeyValue, prefixRange } from "../../store/store.ts";
import type { AdminRequest, ReadSide, WriteSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { pagesNow, resealedOf, resealRestorables } from "./reseal-history.ts";
import { openResealWriter, type ResealedRecord, type ResealWriter } from "./reseal-write.ts";

interface ResealReport {
  total: number;
  resealed: number;
  unchanged: number;
  /** At most NAMED_MAX are named; the numbers say how many there are. */
  readonly failed: { readonly key: string; readonly reason: string }[];
  readonly warnings: { readonly code: "looks_sealed"; readonly key: string; readonly message: string }[];
  /** What the history keeps for rollbacks, by entries. */
  readonly history: { total: number; resealed: number; unchanged: number };
}

const NAMED_MAX = 1_000;

export async function resealAll(admin: WriteSide, request: AdminRequest): Promise<AdminAnswer> {
  if (!admin.codec.seals) return refuse(400, "nothing can be sealed: this node has no keyring (encryption.keyring)");
  const { dryRun } = request.options;
  const report: ResealReport = {
    ...{ total: 0, resealed: 0, unchanged: 0, failed: [], warnings: [] },
    history: { total: 0, resealed: 0, unchanged: 0 },
  };
  const writer = openResealWriter(admin, request);
  for (const { name } of Object.values(KINDS)) {
    if (name === "credential") continue; // they stand among the consumers
    for await (const kvs of pagesNow(admin.store, prefixRange(dirOf(admin.prefix, name)))) {
      await resealPage(admin, kvs, report, dryRun ? undefined : writer);
    }
  }
  await resealRestorables(admin, report.history, dryRun);
  if (dryRun) return { status: 200, body: { dry_run: true, ...report } };
  const { revision } = writer;
  if (revision === undefined) return { status: 200, body: report };
  admin.history.written(admin);
  return { status: 200, body: { ...report, revision: Number(revision) }, revision };
}

/** @param writer undefined: only counts */
async function resealPage(
  admin: ReadSide,
  kvs: readonly KeyValue[],
  report: ResealReport,
  writer: ResealWriter | undefined,
): Promise<void> {
  let read = kvs.filter(({ key }) => parseKey(admin.prefix, key)); // placeholders are no records
  report.total += read.length;
  // What others wrote meanwhile is read and judged again; each round somebody gets through.
  while (read.length > 0) {
    const records = read.flatMap((kv) => resealedRecords(admin, kv, report));
    if (!writer) {
      report.resealed += records.length;
      return;
    }
    const { done, gone, refused, changed } = await writer.write(records);
    report.resealed += done;
    report.total -= gone;
    for (const { key, reason } of refused) fail(report, key, reason);
    read = changed;
  }
}

/** Nothing when the record stays as it is, which is counted. */
function resealedRecords(admin: ReadSide, kv: KeyValue, report: ResealReport): readonly ResealedRecord[] {
  const resealed = resealedOf(admin, kv.key, kv.value);
  switch (resealed.kind) {
    case "unopenable":
      fail(report, kv.key, resealed.reason);
      return [];
    case "current":
      report.unchanged++;
      return [];
    case "resealed":
      for (const path of resealed.doubtful) warn(report, kv.key, path);
      return [{ kv, value: Buffer.from(JSON.stringify(resealed.value), "utf8") }];
  }
}

function fail(report: ResealReport, key: string, reason: string): void {
  if (report.failed.length < NAMED_MAX) report.failed.push({ key, reason });
}

function warn(report: ResealReport, key: string, path: string): void {
  if (report.warnings.length >= NAMED_MAX) return;
  const message = `${path} is taken as plain text, and could be one that APISIX sealed with a key that is not in the keyring`;
  report.warnings.push({ code: "looks_sealed", key, message });
}
