/**
 * What gRPC says over HTTP/2 that HTTP does not: which calls are its own, statuses, messages, deadlines.
 * Source: gRPC's PROTOCOL-HTTP2.md, http-grpc-status-mapping.md and statuscodes.md.
 */

export const DEADLINE_EXCEEDED = 4;
export const UNKNOWN = 2;

const TYPE = /^application\/grpc(?:[+; ]|$)/i;

/** @param contentType of a request; gRPC-Web is something else */
export function isGrpc(contentType: string | undefined): boolean {
  return contentType !== undefined && TYPE.test(contentType);
}

const STATUSES: ReadonlyMap<number, number> = new Map([
  [400, 13], // INTERNAL
  [401, 16], // UNAUTHENTICATED
  [403, 7], // PERMISSION_DENIED
  [404, 12], // UNIMPLEMENTED
  [429, 14], // UNAVAILABLE
  [502, 14],
  [503, 14],
  [504, 14],
]);

/** The gRPC status that clients read out of an HTTP status. */
export function grpcStatusOf(status: number): number {
  return STATUSES.get(status) ?? UNKNOWN;
}

const MESSAGE_BYTES = 1_024;

/** Percent-encoded for `grpc-message`: what is no printable ASCII, and the percent sign. */
export function grpcMessage(text: string): string {
  let message = "";
  for (const byte of Buffer.from(text, "utf8").subarray(0, MESSAGE_BYTES))
    message +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return message.trim();
}

const UNITS_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

/** @param text value of `grpc-timeout` @returns milliseconds; undefined when it is none */
export function readGrpcTimeout(text: string): number | undefined {
  const match = /^(\d{1,8})([HMSmun])$/.exec(text);
  return match ? Number(match[1]) * (UNITS_MS[match[2] as string] as number) : undefined;
}
