/**
 * Reads the header lines of a request once: what frames it, what names the host, and what must not go further.
 * Promise: after `finish` the lines hold end-to-end headers only, no identity or forwarding header the client had
 * no right to send, whatever their spelling. Sources: reliability of framing in RFC 9112 section 6, docs/spec/proxy.md section 1.
 */
import type { Reason } from "../gateway-reasons.ts";
import {
  AUTHORIZATION,
  CLIENT_CERT,
  CONNECTION,
  CONTENT_LENGTH,
  classifyHeader,
  connectionTokens,
  EXPECT,
  FORWARDED,
  HOST,
  PLAIN,
  PROXY_CONNECTION,
  TE,
  TRANSFER_ENCODING,
  UPGRADE,
  X_FORWARDED_FOR,
  X_FORWARDED_HOST,
  X_FORWARDED_PORT,
  X_FORWARDED_PROTO,
  X_REAL_IP,
} from "./header-class.ts";
import { dropNamed } from "./response-head.ts";

/** Kinds of headers that stay although the Connection line names them. */
const STAYS: ReadonlySet<number> = new Set([
  HOST,
  CONTENT_LENGTH,
  X_REAL_IP,
  X_FORWARDED_FOR,
  X_FORWARDED_PROTO,
  X_FORWARDED_HOST,
  X_FORWARDED_PORT,
  FORWARDED,
  CLIENT_CERT,
]);
const LENGTH = /^\d{1,15}$/;

/** Whether a peer's X-Forwarded-* count; "unset" keeps only X-Forwarded-For. */
type ForwardedTrust = "yes" | "no" | "unset";

/** What is believed of the peer that sent a head. */
interface PeerTrust {
  readonly forwardedTrust: ForwardedTrust;
  /** Lower-case name of the header that carries the client's address. */
  readonly realIpHeader: string;
}

/** Used for one head after the other: `begin`, `add` for each line, `finish`. */
export class HeaderScan {
  /** End-to-end lines, flat [name, value, …]; a list of its own for every head. */
  lines: string[] = [];
  /** Value of the Host line; undefined when there is none. */
  host: string | undefined;
  /** Content-Length, -1 when there is none. */
  length = -1;
  chunked = false;
  /** Connection: close was asked for. */
  close = false;
  /** Connection named "upgrade". */
  upgradeAsked = false;
  upgrade: string | undefined;
  expect: string | undefined;
  /** The client takes trailers. */
  takesTrailers = false;
  #trust: ForwardedTrust = "no";
  #realIpHeader = "";
  #authorized = false;
  #named: Set<string> | undefined;
  #fault: Reason | undefined;

  begin(peer: PeerTrust): void {
    this.lines = [];
    this.host = undefined;
    this.length = -1;
    this.chunked = false;
    this.close = false;
    this.upgradeAsked = false;
    this.upgrade = undefined;
    this.expect = undefined;
    this.takesTrailers = false;
    this.#trust = peer.forwardedTrust;
    this.#realIpHeader = peer.realIpHeader;
    this.#authorized = false;
    this.#named = undefined;
    this.#fault = undefined;
  }

  add(name: string, value: string, kind = classifyHeader(name)): void {
    if (kind === PLAIN || this.#keeps(kind, value)) this.lines.push(name, value);
  }

  /** Stands as it stood after a head that was read before, and that had neither coding nor upgrade nor expectation. */
  restore(lines: string[], host: string | undefined, length: number, close: boolean): void {
    this.lines = lines;
    this.host = host;
    this.length = length;
    this.close = close;
    this.chunked = false;
    this.upgradeAsked = false;
    this.upgrade = undefined;
    this.expect = undefined;
    this.takesTrailers = false;
  }

  /** @returns a snake_case word for what is wrong, which is a 400 */
  finish(): Reason | undefined {
    if (this.chunked && this.length >= 0) this.#fault ??= "length_and_coding";
    const named = this.#named;
    if (named) {
      this.upgradeAsked = named.delete("upgrade");
      // The request's own frame is not the client's to take away, nor what a proxy says about it: proxies pass Connection on.
      for (const name of named) if (name === this.#realIpHeader || STAYS.has(classifyHeader(name))) named.delete(name);
      if (named.size > 0) dropNamed(this.lines, named);
    }
    return this.#fault;
  }

  /** Looks at a line that is not plain. @returns whether it goes further */
  #keeps(kind: number, value: string): boolean {
    switch (kind) {
      case HOST:
        if (this.host !== undefined) this.#fault ??= "duplicate_host";
        this.host = value;
        return true;
      case CONTENT_LENGTH:
        if (this.length >= 0 || !LENGTH.test(value)) this.#fault ??= "content_length";
        this.length = Number(value);
        return true;
      case AUTHORIZATION:
        if (this.#authorized) this.#fault ??= "duplicate_authorization";
        this.#authorized = true;
        return true;
      case CONNECTION:
        if (value !== "keep-alive") this.#readConnection(value);
        return false;
      case PROXY_CONNECTION:
        if (hasToken(value.toLowerCase(), "close")) this.close = true;
        return false;
      case TRANSFER_ENCODING:
        if (this.chunked || value.toLowerCase() !== "chunked") this.#fault ??= "transfer_encoding";
        this.chunked = true;
        return false;
      case UPGRADE:
        this.upgrade = this.upgrade === undefined ? value : `${this.upgrade}, ${value}`;
        return false;
      case EXPECT:
        this.expect = value;
        return false;
      case TE:
        if (hasToken(value.toLowerCase(), "trailers")) this.takesTrailers = true;
        return false;
      // Empty ones say nothing: they are made anew, as if they had not been sent.
      case X_FORWARDED_FOR:
        return this.#trust !== "no" && value !== "";
      case X_FORWARDED_PROTO:
      case X_FORWARDED_HOST:
      case X_FORWARDED_PORT:
        return this.#trust === "yes" && value !== "" && this.#isFirst(kind, value);
      case FORWARDED:
      case CLIENT_CERT:
        return this.#trust === "yes" && value !== "";
      case X_REAL_IP:
        return true;
      default: // HOP, IDENTITY, ALIAS
        return false;
    }
  }

  /** Of a header with one value the last line counts, which the nearest proxy wrote: it takes the place of the first. */
  #isFirst(kind: number, value: string): boolean {
    const { lines } = this;
    for (let i = 0; i < lines.length; i += 2) {
      if (classifyHeader(lines[i] as string) !== kind) continue;
      lines[i + 1] = value;
      return false;
    }
    return true;
  }

  #readConnection(value: string): void {
    const lower = value.toLowerCase();
    if (lower.includes("close") && hasToken(lower, "close")) this.close = true;
    this.#named = connectionTokens(value, this.#named);
  }
}

/** Scans lines that were parsed already. @returns a snake_case word for what is wrong */
export function scanHeaders(raw: readonly string[], peer: PeerTrust): HeaderScan | Reason {
  const scan = new HeaderScan();
  scan.begin(peer);
  for (let i = 0; i < raw.length; i += 2) scan.add(raw[i] as string, raw[i + 1] as string);
  return scan.finish() ?? scan;
}

function hasToken(lower: string, token: string): boolean {
  return lower === token || lower.split(",").some((part) => part.trim() === token);
}
