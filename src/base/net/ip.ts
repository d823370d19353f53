/**
 * Lists of IP addresses and CIDR ranges, compiled to one test: route `remote_addrs`, `ipmatch`, ip-restriction,
 * trusted proxies, the admin's allow-list.
 * Promise: a test costs one parse and one look-up per distinct prefix length, whatever the length of the list.
 */
import { isIP, isIPv4 } from "node:net";
import ipaddr from "ipaddr.js";
import { CodedError } from "../errors.ts";

/**
 * Link-local addresses, under which clouds hand out a machine's credentials, in every form that leads there (NAT64, 6to4,
 * IPv4-compatible, IPv4-translated; IPv4-mapped ones count as IPv4), and the metadata services with other addresses.
 */
export const METADATA_ADDRESSES: readonly string[] = Object.freeze([
  ...["169.254.0.0/16", "fe80::/10", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"],
  ...["64:ff9b::a9fe:0/112", "2002:a9fe::/32", "::a9fe:0/112", "::ffff:0:a9fe:0/112"],
]);

export type IpSet = (address: string) => boolean;

interface Range {
  /** 4 or 16 bytes. */
  readonly bytes: readonly number[];
  readonly bits: number;
}

/** @returns `invalid ip address: x` for the first entry that is neither an address nor a CIDR range. */
export function ipListError(list: readonly unknown[]): string | undefined {
  for (const entry of list) {
    if (typeof entry !== "string" || !parseRange(entry)) return `invalid ip address: ${String(entry)}`;
  }
  return undefined;
}

/**
 * Compiles a list. IPv4-mapped IPv6 addresses (`::ffff:10.0.0.1`) count as IPv4, on both sides.
 * A text that is no address is in no set.
 * @throws CodedError CONFIG_INVALID when an entry is not an address or range
 */
export function compileIpSet(list: readonly string[]): IpSet {
  const error = ipListError(list);
  if (error !== undefined) throw new CodedError("CONFIG_INVALID", { message: error });
  const four = new Map<number, Set<number>>();
  const six = new Map<number, Set<string>>();
  for (const entry of list) {
    const range = parseRange(entry);
    if (!range) continue;
    if (range.bytes.length === 4) add(four, range.bits, maskFour(joinFour(range.bytes), range.bits));
    else add(six, range.bits, maskSix(range.bytes, range.bits));
  }
  const inFour = (address: number): boolean => {
    for (const [bits, networks] of four) if (networks.has(maskFour(address, bits))) return true;
    return false;
  };
  return (address) => {
    const quick = readFour(address);
    if (quick >= 0) return inFour(quick);
    const bytes = parseAddress(address);
    if (!bytes) return false;
    if (bytes.length === 4) return inFour(joinFour(bytes));
    for (const [bits, networks] of six) if (networks.has(maskSix(bytes, bits))) return true;
    return false;
  };
}

function add<T>(groups: Map<number, Set<T>>, bits: number, network: T): void {
  const group = groups.get(bits);
  if (group) group.add(network);
  else groups.set(bits, new Set([network]));
}

function parseRange(text: string): Range | undefined {
  const slash = text.indexOf("/");
  const bytes = parseAddress(slash < 0 ? text : text.slice(0, slash));
  if (!bytes) return undefined;
  const all = bytes.length * 8;
  if (slash < 0) return { bytes, bits: all };
  const tail = text.slice(slash + 1);
  if (!/^\d{1,3}$/.test(tail)) return undefined;
  // The written prefix of a mapped range counts the 96 bits in front.
  const bits = Number(tail) - (all === 32 && text.includes(":") ? 96 : 0);
  return bits >= 0 && bits <= all ? { bytes, bits } : undefined;
}

function parseAddress(text: string): readonly number[] | undefined {
  const zone = text.indexOf("%");
  const plain = zone < 0 ? text : text.slice(0, zone);
  if (isIP(plain) === 0) return undefined;
  const parsed = ipaddr.parse(plain);
  if (parsed.kind() === "ipv6" && (parsed as ipaddr.IPv6).isIPv4MappedAddress()) {
    return (parsed as ipaddr.IPv6).toIPv4Address().toByteArray();
  }
  return parsed.toByteArray();
}

/** A dotted address as an unsigned number, or -1. */
function readFour(text: string): number {
  if (!isIPv4(text)) return -1;
  let value = 0;
  let part = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x2e) {
      value = value * 256 + part;
      part = 0;
    } else part = part * 10 + code - 0x30;
  }
  return value * 256 + part;
}

function joinFour(bytes: readonly number[]): number {
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}

function maskFour(address: number, bits: number): number {
  return bits === 0 ? 0 : (address & (-1 << (32 - bits))) >>> 0;
}

function maskSix(bytes: readonly number[], bits: number): string {
  let text = "";
  for (let at = 0; at * 8 < bits; at++) {
    const keep = Math.min(8, bits - at * 8);
    text += String.fromCharCode((bytes[at] ?? 0) & (0xff << (8 - keep)) & 0xff);
  }
  return text;
}

/**
 * The client's address as proxies in front write it into a header: one address, or a chain that each proxy continues.
 * Promise: read from the right, so what a caller wrote in front of the proxies' own words is never reached.
 * Source: nginx's realip module.
 */
export interface ForwardedAddress {
  /** IPv4 is never in mapped form. */
  readonly address: string;
  readonly port: number | undefined;
}

/**
 * The address that the nearest proxies vouch for.
 * @param name    header in lower case: lines of `…forwarded-for` are one chain, of any other header the last line counts
 * @param lines   its values in order
 * @param trusted given: goes on to the left while addresses are in it; absent: the last address
 * @returns undefined when the last entry is no address; what is no address further left ends the walk
 */
export function forwardedAddress(
  name: string,
  lines: readonly string[],
  trusted: IpSet | undefined,
): ForwardedAddress | undefined {
  const text = name.endsWith("forwarded-for") ? lines.join(",") : (lines.at(-1) ?? "");
  let found: ForwardedAddress | undefined;
  for (let end = text.length; end >= 0; ) {
    const comma = end === 0 ? -1 : text.lastIndexOf(",", end - 1);
    const next = readAddress(text.slice(comma + 1, end).trim());
    if (!next) return found;
    found = next;
    if (!trusted?.(found.address)) return found;
    end = comma;
  }
  return found;
}

/** Reads `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`. @returns undefined for other texts */
export function readAddress(text: string): ForwardedAddress | undefined {
  if (isIP(text) !== 0) return { address: unmapped(text), port: undefined };
  const match = /^(?:\[([^\]]+)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(text);
  const address = match?.[1] ?? match?.[2] ?? "";
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (isIP(address) === 0 || (port !== undefined && (port < 1 || port > 65_535))) return undefined;
  return { address: unmapped(address), port };
}

function unmapped(address: string): string {
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(address) ? address.slice("::ffff:".length) : address;
}
