import { expect, test } from "vitest";
import { decodeKey, encodeKey } from "../../src/store/embedded/embedded-codec.ts";
import { translate } from "../../src/store/etcd/etcd-errors.ts";
import { prefixRange } from "../../src/store/store.ts";
import { compareKeys, isInRange } from "../../src/store/store-limits.ts";

const KEYS = [
  "",
  "\0",
  "\0a",
  "a",
  "a\0",
  "a\0\0",
  "a\0b",
  "ab",
  "a/",
  "b",
  "é",
  "\u{d7ff}",
  "\u{e000}",
  "\u{ffff}",
  "\u{10000}",
  "\u{10ffff}",
];
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

test("keys compare by their bytes", () => {
  for (const a of KEYS) for (const b of KEYS) expect(Math.sign(compareKeys(a, b)), `${a} ${b}`).toBe(byBytes(a, b));
});

test("encoded keys keep their order and read back, whatever they hold", () => {
  const sorted = [...KEYS].sort(byBytes);
  expect([...KEYS].sort((a, b) => Buffer.compare(encodeKey(a), encodeKey(b)))).toEqual(sorted);
  for (const key of KEYS) expect(decodeKey(encodeKey(key))).toBe(key);
});

test("a prefix range holds what begins with it and nothing beside", () => {
  const range = prefixRange("/apisix/");
  expect(["/apisix/", "/apisix/a", "/apisix/\u{10ffff}"].every((key) => isInRange(key, range))).toBe(true);
  expect(["/apisix", "/apisix-jotgate/nodes/a", "/apisix0", "/b"].some((key) => isInRange(key, range))).toBe(false);
});

test.each([
  {
    says: "a refused connection was not sent",
    text: "14 UNAVAILABLE: No connection established. Last error: connect ECONNREFUSED",
    kind: "write",
    code: "STORE_UNAVAILABLE",
    sent: false,
  },
  {
    says: "a deadline before a connection was not sent",
    text: "4 DEADLINE_EXCEEDED: Deadline exceeded after 5.000s,Waiting for LB pick",
    kind: "write",
    code: "STORE_UNAVAILABLE",
    sent: false,
  },
  {
    says: "a deadline after sending leaves a write unknown",
    text: "4 DEADLINE_EXCEEDED: Deadline exceeded after 5.000s,remote_addr=127.0.0.1:2379",
    kind: "write",
    code: "STORE_OUTCOME_UNKNOWN",
    sent: true,
  },
  {
    says: "a deadline after sending leaves a read unavailable",
    text: "4 DEADLINE_EXCEEDED: Deadline exceeded after 5.000s,remote_addr=127.0.0.1:2379",
    kind: "read",
    code: "STORE_UNAVAILABLE",
    sent: true,
  },
  {
    says: "a dropped connection leaves a write unknown",
    text: "14 UNAVAILABLE: Connection dropped",
    kind: "write",
    code: "STORE_OUTCOME_UNKNOWN",
    sent: true,
  },
  {
    says: "a leader lost while proposing leaves a write unknown",
    text: "14 UNAVAILABLE: etcdserver: request timed out, possibly due to previous leader failure",
    kind: "write",
    code: "STORE_OUTCOME_UNKNOWN",
    sent: true,
  },
  {
    says: "a cancelled call leaves a write unknown",
    text: "1 CANCELLED: Cancelled on client",
    kind: "write",
    code: "STORE_OUTCOME_UNKNOWN",
    sent: true,
  },
  {
    says: "a full database is full",
    text: "8 RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded",
    kind: "write",
    code: "STORE_FULL",
    sent: true,
  },
  {
    says: "too many requests is unavailable and was not done",
    text: "8 RESOURCE_EXHAUSTED: etcdserver: too many requests",
    kind: "write",
    code: "STORE_UNAVAILABLE",
    sent: true,
  },
  {
    says: "a large request is too large",
    text: "3 INVALID_ARGUMENT: etcdserver: request is too large",
    kind: "write",
    code: "STORE_TOO_LARGE",
    sent: true,
  },
  {
    says: "compaction is compaction",
    text: "11 OUT_OF_RANGE: etcdserver: mvcc: required revision has been compacted",
    kind: "read",
    code: "STORE_COMPACTED",
    sent: true,
  },
  {
    says: "permission is denied",
    text: "7 PERMISSION_DENIED: etcdserver: permission denied",
    kind: "write",
    code: "STORE_DENIED",
    sent: true,
  },
  {
    says: "a lost lease is gone",
    text: "5 NOT_FOUND: etcdserver: requested lease not found",
    kind: "write",
    code: "STORE_LEASE_GONE",
    sent: true,
  },
] as const)("$says", ({ text, kind, code, sent }) => {
  const failure = translate(new Error(text), kind);
  expect(failure.error.code).toBe(code);
  expect(failure.sent).toBe(sent);
});
