/**
 * A response as a cache keeps it, and as it goes out again. Source: RFC 9111 sections 4.2.3 and 5.1, RFC 9110 section 13.
 */
import { HeaderList } from "../../plugin/headers.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";

export interface CachedResponse {
  readonly status: number;
  /** Flat [name, value, …], as the upstream sent them, without framing. */
  readonly lines: readonly string[];
  readonly body: Buffer;
  /** Milliseconds since 1970. */
  readonly storedMs: number;
  readonly ttlMs: number;
}

/** What a 304 says again (RFC 9110 section 15.4.5). */
const OF_304: ReadonlySet<string> = new Set(["cache-control", "content-location", "date", "etag", "expires", "vary"]);

/** @param request its headers, which may ask whether something has changed */
export function answerOf(cached: CachedResponse, request: HeaderList, nowMs: number): Answer {
  const headers = new HeaderList(cached.lines.slice());
  const isUnchanged = cached.status === 200 && isKnown(headers, request);
  if (isUnchanged) headers.removeWhere((lower) => !OF_304.has(lower));
  headers.set("Age", String(Math.max(0, Math.floor((nowMs - cached.storedMs) / 1_000))));
  const status = isUnchanged ? 304 : cached.status;
  return { status, headers: headers.lines, body: isUnchanged ? EMPTY : cached.body, reason: "" };
}

const EMPTY = Buffer.alloc(0);

/** Whether the client has this response already. */
function isKnown(headers: HeaderList, request: HeaderList): boolean {
  const known = request.getAll("if-none-match");
  const tag = headers.get("etag");
  if (known.length > 0) {
    const tags = known.join(",").split(",");
    return tags.some((one) => one.trim() === "*" || (tag !== undefined && plain(one) === plain(tag)));
  }
  const since = Date.parse(request.get("if-modified-since") ?? "");
  return since >= Date.parse(headers.get("last-modified") ?? "");
}

/** Weak comparison (RFC 9110 section 8.8.3.2). */
function plain(tag: string): string {
  return tag.trim().replace(/^W\//, "");
}

/** Memory that one takes, roughly. */
export function bytesOfCached({ body, lines }: CachedResponse): number {
  let bytes = 512 + body.length;
  for (const line of lines) bytes += line.length * 2;
  return bytes;
}
