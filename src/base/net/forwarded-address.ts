/**
 * The client's address as proxies in front write it into a header: one address, or a chain that each proxy continues.
 * Promise: read from the right, so what a caller wrote in front of the proxies' own words is never reached.
 * Source: nginx's realip module.
 */
import { isIP } from "node:net";
import type { IpSet } from "./ip.ts";

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
