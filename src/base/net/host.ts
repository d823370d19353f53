/**
 * The one reading of a Host header that routing, policy and forwarding share.
 * Promise: lower case, no port, no trailing dot; whatever is not plainly a host is `undefined`, which is a 400.
 */
import { isIPv6 } from "node:net";

export interface HostAndPort {
  /** A name, an IPv4 address or an IPv6 address in brackets. */
  readonly host: string;
  readonly port: number | undefined;
}

const HOST_LENGTH_MAX = 255; // RFC 1035 section 2.3.4, with the trailing dot

/** @returns undefined for an empty host, other characters than a name has, an empty label inside, a port above 65535 */
export function parseHost(header: string): HostAndPort | undefined {
  if (header.charCodeAt(0) === 0x5b) return parseBracketed(header);
  let end = header.length;
  let isLower = true;
  let previous = 0x2e; // as if after a dot, so that a leading dot is refused
  for (let at = 0; at < header.length; at++) {
    const code = header.charCodeAt(at);
    if (code === 0x3a) {
      end = at;
      break;
    }
    if (code >= 0x41 && code <= 0x5a) isLower = false;
    else if (!isNameCode(code)) return undefined;
    if (code === 0x2e && previous === 0x2e) return undefined;
    previous = code;
  }
  const nameEnd = previous === 0x2e ? end - 1 : end;
  if (nameEnd <= 0 || end > HOST_LENGTH_MAX) return undefined;
  const port = parsePort(header, end);
  if (port === -1) return undefined;
  const name = nameEnd === header.length ? header : header.slice(0, nameEnd);
  return { host: isLower ? name : name.toLowerCase(), port };
}

function isNameCode(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === 0x2e ||
    code === 0x5f ||
    code === 0x7e
  );
}

function parseBracketed(header: string): HostAndPort | undefined {
  const close = header.indexOf("]");
  if (close < 0 || !/^[0-9A-Fa-f:.]+$/.test(header.slice(1, close)) || !isIPv6(header.slice(1, close)))
    return undefined;
  const port = parsePort(header, close + 1);
  if (port === -1) return undefined;
  return { host: header.slice(0, close + 1).toLowerCase(), port };
}

/** The port behind a colon at `at`; undefined when there is none, -1 when it is none. */
function parsePort(text: string, at: number): number | undefined {
  if (at >= text.length - 1) return at === text.length || text.charCodeAt(at) === 0x3a ? undefined : -1;
  const digits = text.slice(at + 1);
  if (text.charCodeAt(at) !== 0x3a || !/^\d{1,5}$/.test(digits)) return -1;
  const port = Number(digits);
  return port >= 1 && port <= 65_535 ? port : -1;
}
