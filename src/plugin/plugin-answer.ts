/**
 * What a phase returns when it answers the request itself instead of letting it go on.
 * Answers that never vary are made once, when the plugin is compiled.
 */
export interface Answer {
  readonly status: number;
  /** Flat [name, value, …]; a Content-Type here replaces the default `text/plain; charset=utf-8`. */
  readonly headers: readonly string[];
  /** `undefined`: the gateway's own page for that status when it is 400 or more, else empty. */
  readonly body: string | Buffer | undefined;
  /** Stable snake_case word for logs and metrics; never shown to the caller. */
  readonly reason: string;
}

const NO_HEADERS: readonly string[] = Object.freeze([]);

/** An answer with the gateway's own page for `status` (or no body below 400). */
export function bareAnswer(status: number, reason: string, headers: readonly string[] = NO_HEADERS): Answer {
  return Object.freeze({ status, headers, body: undefined, reason });
}

/** A text sent as it is. */
export function textAnswer(
  status: number,
  body: string | Buffer,
  reason: string,
  headers: readonly string[] = NO_HEADERS,
): Answer {
  return Object.freeze({ status, headers, body, reason });
}

/** A value as one line of JSON, ended by a newline, as APISIX sends its tables. */
export function jsonAnswer(
  status: number,
  value: unknown,
  reason: string,
  headers: readonly string[] = NO_HEADERS,
): Answer {
  return Object.freeze({ status, headers, body: `${JSON.stringify(value)}\n`, reason });
}
