/**
 * What the Admin API answers, as plain data; only server.ts turns it into bytes.
 * Source: docs/spec/admin-api.md sections 1, 3 and 4.
 */
import { isCodedError, messageOf } from "../base/errors.ts";

export interface AdminAnswer {
  readonly status: number;
  /** An object or array is sent as JSON, a string as it is, a stream piece by piece; undefined is an empty body. */
  readonly body?: object | string | AsyncIterable<string>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Of the transaction that this answers; undefined when nothing was written. */
  readonly revision?: bigint;
  /** Whether that very transaction asked the nodes to say that they have applied it. */
  readonly asked?: boolean;
}

/** `{"error_msg": text}`, with further members behind it. */
export function refuse(status: number, text: string, more: Readonly<Record<string, unknown>> = {}): AdminAnswer {
  return { status, body: { error_msg: text, ...more } };
}

export const KEY_NOT_FOUND: AdminAnswer = { status: 404, body: { message: "Key not found" } };

/**
 * The answer to anything thrown: store faults by their code, all else as 500 without details.
 * An unknown outcome says so: the write may have happened.
 */
export function errorAnswer(error: unknown): AdminAnswer {
  if (!isCodedError(error)) return refuse(500, "internal error");
  switch (error.code) {
    case "STORE_TOO_LARGE":
    case "REQUEST_INVALID":
      return refuse(400, messageOf(error));
    case "STORE_FULL":
      return refuse(507, messageOf(error));
    case "STORE_OUTCOME_UNKNOWN":
      return refuse(503, messageOf(error), { outcome: "unknown" });
    default:
      return error.code.startsWith("STORE_") ? refuse(503, messageOf(error)) : refuse(500, "internal error");
  }
}
