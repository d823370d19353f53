/**
 * The store port as messages between two processes (src/base/channel.ts). Values are bytes and revisions are bigints, as
 * structured clones carry them; everything that arrives is checked by shape.
 */
import type { Call, Reader, Tell } from "../../base/channel.ts";
import type { Change, GetResult, KeyRange, LeaseId, ListPage, Revision, Txn, TxnResult } from "../store.ts";

type Check = (value: unknown) => boolean;

const text: Check = (value) => typeof value === "string";
const big: Check = (value) => typeof value === "bigint" && value >= 0n;
const bytes: Check = (value) => value instanceof Uint8Array;
const flag: Check = (value) => typeof value === "boolean";
const count: Check = (value) => Number.isSafeInteger(value) && Number(value) >= 0;
const word =
  (...words: readonly string[]): Check =>
  (value) =>
    words.includes(String(value));
const maybe =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const listOf =
  (check: Check): Check =>
  (value) =>
    Array.isArray(value) && value.every(check);
const anyOf =
  (...checks: readonly Check[]): Check =>
  (value) =>
    checks.some((check) => check(value));
const shape =
  (members: Readonly<Record<string, Check>>): Check =>
  (value) =>
    typeof value === "object" &&
    value !== null &&
    // True: an object has whatever members it has.
    Object.entries(members).every(([name, check]) => check((value as Readonly<Record<string, unknown>>)[name]));

function reads<T>(check: Check): Reader<T> {
  // True: the check says what the type says.
  return (value) => (check(value) ? (value as T) : undefined);
}

const range = shape({ start: text, end: text });
const kv = shape({ key: text, value: bytes, createRevision: big, modRevision: big, version: big, lease: big });
const operation = anyOf(
  shape({ op: word("put"), key: text, value: bytes, lease: maybe(big) }),
  shape({ op: word("delete", "get"), key: text }),
  shape({ op: word("deleteRange"), range }),
);
const compare = anyOf(
  shape({ key: text, target: word("createRevision", "modRevision", "version"), is: word("==", ">", "<"), value: big }),
  shape({ key: text, target: word("value"), is: word("=="), value: bytes }),
);
const result = anyOf(
  shape({ op: word("put") }),
  shape({ op: word("delete", "deleteRange"), deleted: count }),
  shape({ op: word("get"), kv: maybe(kv) }),
);
const change = shape({ type: word("put", "delete"), key: text, kv: maybe(kv) });

export const GET: Call<{ readonly key: string }, GetResult> = {
  name: "store-get",
  body: reads(shape({ key: text })),
  reply: reads(shape({ kv: maybe(kv), revision: big, clusterId: maybe(text) })),
};

interface PageAsked {
  readonly range: KeyRange;
  readonly revision: Revision | undefined;
  readonly pageSize: number | undefined;
  readonly keysOnly: boolean;
}
/** One page; the next one begins after its last key, at its revision. */
export const PAGE: Call<PageAsked, ListPage> = {
  name: "store-page",
  body: reads(shape({ range, revision: maybe(big), pageSize: maybe(count), keysOnly: flag })),
  reply: reads(shape({ revision: big, kvs: listOf(kv), more: flag })),
};

export const TXN: Call<Txn, TxnResult> = {
  name: "store-txn",
  body: reads(shape({ compare: listOf(compare), then: listOf(operation), else: maybe(listOf(operation)) })),
  reply: reads(shape({ succeeded: flag, revision: big, results: listOf(result) })),
};

export const GRANT: Call<{ readonly ttlSeconds: number }, { readonly lease: LeaseId }> = {
  name: "store-grant",
  body: reads(shape({ ttlSeconds: (value) => typeof value === "number" })),
  reply: reads(shape({ lease: big })),
};
export const KEEP_ALIVE: Call<{ readonly lease: LeaseId }, { readonly seconds: number }> = {
  name: "store-keep-alive",
  body: reads(shape({ lease: big })),
  reply: reads(shape({ seconds: (value) => typeof value === "number" })),
};
export const REVOKE: Call<{ readonly lease: LeaseId }, null> = {
  name: "store-revoke",
  body: reads(shape({ lease: big })),
  reply: reads((value) => value === null),
};
export const COMPACT: Call<{ readonly revision: Revision }, null> = {
  name: "store-compact",
  body: reads(shape({ revision: (value) => typeof value === "bigint" })),
  reply: reads((value) => value === null),
};

/** Opens a watch under a number of the asker's choice. */
export const WATCH: Tell<{ readonly id: number; readonly range: KeyRange; readonly after: Revision }> = {
  name: "store-watch",
  body: reads(shape({ id: count, range, after: (value) => typeof value === "bigint" })),
};
export const UNWATCH: Tell<{ readonly id: number }> = { name: "store-unwatch", body: reads(shape({ id: count })) };
/** The asker has taken one batch in. */
export const TAKEN: Tell<{ readonly id: number }> = { name: "store-taken", body: reads(shape({ id: count })) };

export type WatchEvent =
  | { readonly id: number; readonly kind: "created" | "progress"; readonly revision: Revision }
  | {
      readonly id: number;
      readonly kind: "batch";
      readonly revision: Revision;
      readonly changes: readonly Change[];
    }
  | { readonly id: number; readonly kind: "stopped" }
  | { readonly id: number; readonly kind: "compacted"; readonly at: Revision }
  | { readonly id: number; readonly kind: "behind"; readonly head: Revision }
  | { readonly id: number; readonly kind: "refused" | "broken"; readonly reason: string };
export const WATCHED: Tell<WatchEvent> = {
  name: "store-watched",
  body: reads(
    anyOf(
      shape({ id: count, kind: word("created", "progress"), revision: big }),
      shape({ id: count, kind: word("batch"), revision: big, changes: listOf(change) }),
      shape({ id: count, kind: word("stopped") }),
      shape({ id: count, kind: word("compacted"), at: big }),
      shape({ id: count, kind: word("behind"), head: big }),
      shape({ id: count, kind: word("refused", "broken"), reason: text }),
    ),
  ),
};
