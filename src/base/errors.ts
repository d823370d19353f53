/**
 * Errors as data: one table of codes with what clients see (status), whom operators ask (source)
 * and what a balancer may do (retryable). Each code has a line in docs/errors.md; none is ever renamed.
 */
export interface CodeFacts {
  readonly status: number;
  readonly source: "downstream" | "upstream" | "internal";
  readonly retryable: boolean;
}

const CODES = {
  CONFIG_INVALID: { status: 400, source: "downstream", retryable: false },
  SETTINGS_INVALID: { status: 500, source: "internal", retryable: false },
  RECORD_INVALID: { status: 400, source: "downstream", retryable: false },
  REQUEST_INVALID: { status: 400, source: "downstream", retryable: false },
  REQUEST_TOO_LARGE: { status: 413, source: "downstream", retryable: false },
  STORE_UNAVAILABLE: { status: 503, source: "internal", retryable: true },
  STORE_OUTCOME_UNKNOWN: { status: 503, source: "internal", retryable: true },
  STORE_FULL: { status: 507, source: "internal", retryable: false },
  STORE_DENIED: { status: 500, source: "internal", retryable: false },
  STORE_TOO_LARGE: { status: 400, source: "downstream", retryable: false },
  STORE_COMPACTED: { status: 503, source: "internal", retryable: true },
  STORE_LEASE_GONE: { status: 503, source: "internal", retryable: true },
  STORE_CLOSED: { status: 503, source: "internal", retryable: false },
  STORE_BAD_REVISION: { status: 500, source: "internal", retryable: false },
  WORKER_UNAVAILABLE: { status: 503, source: "internal", retryable: true },
  SECRET_UNRESOLVED: { status: 503, source: "internal", retryable: true },
  PLUGIN_FAILED: { status: 500, source: "internal", retryable: false },
  UPSTREAM_NONE: { status: 503, source: "internal", retryable: false },
  UPSTREAM_CERTIFICATE_MISSING: { status: 502, source: "internal", retryable: false },
  UPSTREAM_MISSING: { status: 502, source: "internal", retryable: false },
  UPSTREAM_CONNECT_FAILED: { status: 502, source: "upstream", retryable: true },
  UPSTREAM_CONNECT_TIMEOUT: { status: 504, source: "upstream", retryable: true },
  UPSTREAM_SEND_TIMEOUT: { status: 504, source: "upstream", retryable: true },
  UPSTREAM_READ_TIMEOUT: { status: 504, source: "upstream", retryable: true },
  UPSTREAM_RESET: { status: 502, source: "upstream", retryable: true },
  UPSTREAM_BAD_RESPONSE: { status: 502, source: "upstream", retryable: true },
  UPSTREAM_RETRY_TIMEOUT: { status: 502, source: "upstream", retryable: false },
  CLIENT_ABORTED: { status: 499, source: "downstream", retryable: false },
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof CODES;

export interface ErrorOptionsWithMessage {
  readonly message: string;
  readonly cause?: unknown;
}

/** An expected failure with a stable code. `message` is for operators and never holds a secret. */
export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly source: CodeFacts["source"];
  readonly retryable: boolean;

  constructor(code: ErrorCode, options: ErrorOptionsWithMessage) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    const facts = CODES[code];
    this.name = "GatewayError";
    this.code = code;
    this.status = facts.status;
    this.source = facts.source;
    this.retryable = facts.retryable;
  }
}

export function isGatewayError(error: unknown, code?: ErrorCode): error is GatewayError {
  return error instanceof GatewayError && (code === undefined || error.code === code);
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
export const ERROR_CODES: Readonly<Record<ErrorCode, CodeFacts>> = CODES;
