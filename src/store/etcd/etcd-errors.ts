/**
 * Translates what etcd, gRPC and etcd3 throw into CodedError STORE_*.
 * Promise: a write whose fate is not certain is STORE_OUTCOME_UNKNOWN; STORE_UNAVAILABLE means it was not done.
 * STORE_FULL is etcd's own word, which it also says of the writes under way that it did while its quota was crossed.
 * Seen with etcd 3.4.23, etcd3 1.1.2 (which drops the numeric code but keeps it in the text) and grpc-js 1.14.7.
 */
import { CodedError, type ErrorCode, messageOf } from "../../base/errors.ts";

export type CallKind = "read" | "write";

/** A store error that knows whether the request can have reached etcd. */
interface StoreFailure {
  readonly error: CodedError;
  /** False: certainly nothing was sent, so another member may be asked. */
  readonly sent: boolean;
  /** This member is of no use now; prefer another next time. */
  readonly memberAtFault: boolean;
}

const CANCELLED = 1;
const INVALID_ARGUMENT = 3;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const OUT_OF_RANGE = 11;
const UNAUTHENTICATED = 16;

/** grpc-js texts of calls that never left this machine. */
const NOT_SENT = ["No connection established", "Waiting for LB pick", "Name resolution failed", "before call started"];

/** Texts that decide within or beside a code, first match wins. */
const TEXTS: readonly (readonly [text: string, code: ErrorCode])[] = [
  ["database space exceeded", "STORE_FULL"],
  ["request is too large", "STORE_TOO_LARGE"],
  ["too many operations", "STORE_TOO_LARGE"],
  ["message larger than max", "STORE_TOO_LARGE"],
  ["duplicate key given", "REQUEST_INVALID"],
  ["has been compacted", "STORE_COMPACTED"],
  ["is a future revision", "STORE_BAD_REVISION"],
  ["lease not found", "STORE_LEASE_GONE"],
  ["permission denied", "STORE_DENIED"],
  ["authentication failed", "STORE_DENIED"],
  ["authentication is not enabled", "STORE_DENIED"],
  ["user name is empty", "STORE_DENIED"],
  ["invalid auth token", "STORE_DENIED"],
];

const FULL_CURE = "compact and defragment the store, then disarm its alarm";

export function translate(thrown: unknown, kind: CallKind): StoreFailure {
  if (thrown instanceof CodedError) return { error: thrown, sent: true, memberAtFault: false };
  const text = messageOf(thrown);
  if (text.includes("client was already closed")) {
    return {
      error: new CodedError("STORE_CLOSED", { message: "the store is closed" }),
      sent: false,
      memberAtFault: false,
    };
  }
  const known = TEXTS.find(([part]) => text.includes(part))?.[1];
  if (known !== undefined) {
    const message = known === "STORE_FULL" ? `${text}: ${FULL_CURE}` : text;
    return { error: new CodedError(known, { message, cause: thrown }), sent: true, memberAtFault: false };
  }
  const code = Number(/^(\d+) [A-Z_]+:/.exec(text)?.[1] ?? Number.NaN);
  const definite = definiteCode(code);
  if (definite !== undefined)
    return { error: new CodedError(definite, { message: text, cause: thrown }), sent: true, memberAtFault: false };
  const sent = !NOT_SENT.some((part) => text.includes(part));
  const unknown = sent && kind === "write";
  const message =
    code === CANCELLED || code === DEADLINE_EXCEEDED ? `no answer from etcd: ${text}` : `etcd is unavailable: ${text}`;
  const error = new CodedError(unknown ? "STORE_OUTCOME_UNKNOWN" : "STORE_UNAVAILABLE", { message, cause: thrown });
  return { error, sent, memberAtFault: true };
}

function definiteCode(code: number): ErrorCode | undefined {
  switch (code) {
    case PERMISSION_DENIED:
    case UNAUTHENTICATED:
      return "STORE_DENIED";
    case INVALID_ARGUMENT:
      return "REQUEST_INVALID";
    case OUT_OF_RANGE:
      return "STORE_BAD_REVISION";
    case NOT_FOUND:
      return "STORE_LEASE_GONE";
    case RESOURCE_EXHAUSTED: // "too many requests": refused before it was proposed
      return "STORE_UNAVAILABLE";
    default:
      return undefined;
  }
}
