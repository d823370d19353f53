/**
 * The one judge of records: nodes, workers, admin writes, validation and dry runs ask it whether a record will be taken.
 * Promise: what it lets through is compiled and served; what it refuses no node serves. Pure but for what `decrypt` does.
 */
import { isUtf8 } from "node:buffer";
import { messageOf } from "../base/errors.ts";
import type { RecordKey } from "../model/keys.ts";
import { type RecordRead, readRecord, type StoredValue } from "../model/record.ts";
import { inlineUpstreamsOf } from "../model/references.ts";
import type { PluginRegistry } from "./plugins/plugin-registry.ts";
import { recordError } from "./record-checks.ts";
import type { UpstreamRecord } from "./upstream/upstream-record.ts";

export interface VerdictChecks {
  readonly registry: PluginRegistry;
  /** Why an upstream that satisfies its schema cannot be used. */
  upstreamError(record: UpstreamRecord): string | undefined;
  /** Why a certificate record that satisfies its schema cannot be served; default: whoever opens listeners says so. */
  readonly sslError?: ((value: StoredValue) => string | undefined) | undefined;
  /** Opens the encrypted members of a record; throws what is then the record's problem. */
  readonly decrypt?: ((key: RecordKey, value: StoredValue) => StoredValue) | undefined;
}

/** Never throws: whatever a check or the decryption throws is this record's problem. */
export function verdictOn(key: RecordKey, bytes: Buffer, env: VerdictChecks): RecordRead {
  try {
    if (!isUtf8(bytes)) return { ok: false, problem: "not UTF-8" };
    const read = openRecord(key, bytes, env);
    if (!read.ok) return read;
    const problem = recordError(key, read.value, env.registry) ?? ownProblem(key, read.value, env);
    return problem === undefined ? read : { ok: false, problem };
  } catch (error) {
    return { ok: false, problem: messageOf(error) };
  }
}

/** Throws what is the record's problem when a sealed member cannot be opened. */
export function openRecord(key: RecordKey, bytes: Buffer, { decrypt }: Pick<VerdictChecks, "decrypt">): RecordRead {
  const read = readRecord(key, bytes.toString("utf8"));
  return read.ok && decrypt ? { ok: true, value: decrypt(key, read.value) } : read;
}

function ownProblem(key: RecordKey, value: StoredValue, env: VerdictChecks): string | undefined {
  if (key.kind === "ssl") return env.sslError?.(value);
  if (key.kind === "upstream") return env.upstreamError(value as UpstreamRecord);
  // Stream routes are listed, and mean nothing here.
  if (key.kind === "stream_route") return undefined;
  for (const upstream of inlineUpstreamsOf(value)) {
    const problem = env.upstreamError(upstream as UpstreamRecord); // by the schema it is one
    if (problem !== undefined) return problem;
  }
  return undefined;
}
