/**
 * Errors as data: one table of codes with what clients see (status). Each is thrown somewhere and has a line in
 * docs/errors.md; none is ever renamed. Why the gateway answers a request itself is in gateway/gateway-reasons.ts.
 */
interface CodeDefinition {
  readonly status: number;
}

const CODES = {
  CONFIG_INVALID: { status: 400 },
  SETTINGS_INVALID: { status: 500 },
  RECORD_INVALID: { status: 400 },
  REQUEST_INVALID: { status: 400 },
  REQUEST_MEMORY_FULL: { status: 503 },
  REQUEST_TOO_LARGE: { status: 413 },
  STORE_UNAVAILABLE: { status: 503 },
  STORE_OUTCOME_UNKNOWN: { status: 503 },
  STORE_FULL: { status: 507 },
  STORE_DENIED: { status: 500 },
  STORE_TOO_LARGE: { status: 400 },
  STORE_COMPACTED: { status: 503 },
  STORE_LEASE_GONE: { status: 503 },
  STORE_CLOSED: { status: 503 },
  STORE_BAD_REVISION: { status: 500 },
  WORKER_UNAVAILABLE: { status: 503 },
  SECRET_UNRESOLVED: { status: 503 },
  ISSUER_UNAVAILABLE: { status: 503 },
  PLUGIN_FAILED: { status: 500 },
  CERTIFICATE_MISSING: { status: 502 },
  BAD_RESPONSE: { status: 502 },
  CLIENT_ABORTED: { status: 499 },
} as const satisfies Record<string, CodeDefinition>;

export type ErrorCode = keyof typeof CODES;

interface ErrorOptionsWithMessage {
  readonly message: string;
  readonly cause?: unknown;
}

/** An expected failure with a stable code. `message` is for operators and never holds a secret. */
export class CodedError extends Error {
  readonly code: ErrorCode;
  readonly status: number;

  constructor(code: ErrorCode, options: ErrorOptionsWithMessage) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "CodedError";
    this.code = code;
    this.status = CODES[code].status;
  }
}

export function isCodedError(error: unknown, code?: ErrorCode): error is CodedError {
  return error instanceof CodedError && (code === undefined || error.code === code);
}

/** The text of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Marks a switch as exhaustive; reaching it is a programmer's error. */
export function assertNever(value: never): never {
  throw new TypeError(`unexpected value: ${String(value)}`);
}

/** Every code with its facts, for docs and tests. */
export const ERROR_CODES: Readonly<Record<ErrorCode, CodeDefinition>> = CODES;
