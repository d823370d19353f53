/**
 * The URL that the caller used, as proofs of possession name it (`htu`): of the outermost proxy that is trusted.
 * Promise: what a peer says about scheme and host counts only where `trusted_addresses` lists it, as the gateway removes it
 * elsewhere; where it could be read in two ways there is none. Sources: RFC 9449 section 4.3, docs/spec/tokens.md section 8.
 */
import { parseHost } from "../../base/net/host.ts";
import { normalisePath, splitTarget } from "../../base/net/path.ts";
import type { RequestView } from "../request-view.ts";

const URL_MAX_CHARS = 8_192;
/** An escaped slash is no slash (RFC 3986 section 2.2). */
const SPELLED = { matchEncodedSlash: true } as const;

/** Scheme, host and path as they were sent, without query. @returns undefined where scheme or host are not known */
export function outerUrl({ head, connection, headers }: RequestView): string | undefined {
  const scheme = headers.get("x-forwarded-proto")?.toLowerCase() ?? connection.scheme;
  const host = headers.get("x-forwarded-host") ?? head.hostHeader;
  if ((scheme !== "http" && scheme !== "https") || parseHost(host) === undefined) return undefined;
  const mark = head.target.indexOf("?");
  return `${scheme}://${host}${mark < 0 ? head.target : head.target.slice(0, mark)}`;
}

/**
 * Whether both name the same after the normalisation of RFC 3986 section 6.2, query and fragment apart: case of scheme and
 * host, default ports, dot segments, escapes. Of paths it is the gateway's one reading.
 */
export function isSameUrl(one: string, other: string): boolean {
  if (one === other) return !one.includes("?") && !one.includes("#");
  const plain = plainUrl(one);
  return plain !== undefined && plain === plainUrl(other);
}

function plainUrl(url: string): string | undefined {
  if (url.length > URL_MAX_CHARS) return undefined;
  const [, scheme = "", authority = "", path = ""] = /^(https?):\/\/([^/?#]*)([^?#]*)/i.exec(url) ?? [];
  const host = parseHost(authority);
  const split = splitTarget(path === "" ? "/" : path);
  const normal = split && normalisePath(split.rawPath, SPELLED);
  if (host === undefined || normal === undefined) return undefined;
  const lower = scheme.toLowerCase();
  const port = host.port ?? (lower === "https" ? 443 : 80);
  return `${lower}://${host.host}:${port}${normal.escapedPath}`;
}
