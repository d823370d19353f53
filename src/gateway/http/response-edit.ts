/**
 * What plugins did to the head of a response, made sendable.
 */

import type { HeaderList } from "../../plugin/headers.ts";
import type { ResponseView } from "../../plugin/response-view.ts";
import type { DropCounter } from "../upstream/upstream-head.ts";
import {
  CONNECTION,
  CONTENT_LENGTH,
  classifyHeader,
  HOP,
  PROXY_CONNECTION,
  TE,
  TRANSFER_ENCODING,
  UPGRADE,
} from "./header-class.ts";
import { isFieldValue, isToken } from "./message.ts";

/** Leaves out what would split or break the head: a value with CR, LF or NUL, a name that is none, framing headers. */
export function dropUnsendable(response: ResponseView, dropped: DropCounter): void {
  const { lines } = response.headers;
  let kept = 0;
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i] as string;
    const value = String(lines[i + 1]);
    if (!isToken(name) || !isFieldValue(value)) {
      dropped.inc();
      continue;
    }
    if (isFraming(classifyHeader(name))) continue;
    lines[kept] = name;
    lines[kept + 1] = value;
    kept += 2;
  }
  lines.length = kept;
  if (!(Number.isInteger(response.status) && response.status >= 200 && response.status <= 999)) response.status = 500;
}

function isFraming(kind: number): boolean {
  return (
    kind === CONTENT_LENGTH ||
    kind === TRANSFER_ENCODING ||
    kind === CONNECTION ||
    kind === UPGRADE ||
    kind === HOP ||
    kind === TE ||
    kind === PROXY_CONNECTION
  );
}

/** Types that nginx's `charset utf-8`, as APISIX ships it, completes. */
const TEXT_TYPES: ReadonlySet<string> = new Set([
  "text/html",
  "text/plain",
  "text/xml",
  "text/vnd.wap.wml",
  "application/javascript",
  "application/rss+xml",
]);

/** A text type without parameters says that it is UTF-8. Source: recorded behaviour, docs/spec/proxy.md section 2. */
export function addCharset(headers: HeaderList): void {
  const type = headers.get("content-type");
  if (type !== undefined && TEXT_TYPES.has(type)) headers.set("Content-Type", `${type}; charset=utf-8`);
}
