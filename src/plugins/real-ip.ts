/**
 * real-ip: takes the client's address from a header, an argument or a cookie that a trusted proxy has set.
 * Promise: what is no address changes nothing; with trusted_addresses only those peers are believed.
 * Source: APISIX 3.18 real-ip.
 */
import { isIP } from "node:net";
import { type Static, Type } from "typebox";
import { compileIpSet, ipListError } from "../base/net/ip.ts";
import { Ip } from "../model/shared-schema.ts";
import { Defaulted } from "../plugin/defaulted.ts";
import { definePlugin } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { compileVariable } from "../plugin/variables/variables.ts";

const schema = Type.Object({
  trusted_addresses: Type.Optional(Type.Array(Ip, { minItems: 1 })),
  source: Type.String({ minLength: 1 }),
  recursive: Defaulted(Type.Boolean({ default: false })),
});

export const realIp = definePlugin({
  name: "real-ip",
  version: 0.1,
  priority: 23_000,
  schema,
  check: (conf) => ipListError(conf.trusted_addresses ?? []),
  compile(conf) {
    const trusted = conf.trusted_addresses && compileIpSet(conf.trusted_addresses);
    const read = compileSource(conf, trusted);
    return {
      rewrite(view) {
        if (trusted && !trusted(view.clientAddress)) return undefined;
        const found = parseAddress(read(view));
        if (!found) return undefined;
        view.clientAddress = found.address;
        if (found.port !== undefined) view.clientPort = found.port;
        return undefined;
      },
    };
  },
});

type ReadText = (view: RequestView) => string | undefined;

function compileSource(conf: Static<typeof schema>, trusted: ((address: string) => boolean) | undefined): ReadText {
  if (conf.source === "http_x_forwarded_for")
    return (view) => lastForwarded(view.headers.getAll("x-forwarded-for"), conf.recursive ? trusted : undefined);
  const read = compileVariable(conf.source);
  return (view) => {
    const value = read(view);
    return typeof value === "string" ? value : undefined;
  };
}

/** The last address of all lines, or the last that is not one of our own proxies. */
function lastForwarded(
  lines: readonly string[],
  trusted: ((address: string) => boolean) | undefined,
): string | undefined {
  const hops = lines
    .join(",")
    .split(",")
    .map((hop) => hop.trim());
  if (!trusted) return hops.at(-1);
  return hops.findLast((hop) => !trusted(parseAddress(hop)?.address ?? "")) ?? hops[0];
}

interface Address {
  readonly address: string;
  readonly port: number | undefined;
}

/** Reads `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`. */
function parseAddress(text: string | undefined): Address | undefined {
  if (text === undefined) return undefined;
  if (isIP(text) !== 0) return { address: unmapped(text), port: undefined };
  const match = /^(?:\[([^\]]+)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(text);
  const address = match?.[1] ?? match?.[2] ?? "";
  const port = match?.[3] === undefined ? undefined : Number(match[3]);
  if (isIP(address) === 0 || (port !== undefined && (port < 1 || port > 65_535))) return undefined;
  return { address: unmapped(address), port };
}

/** IPv4 is never shown in its mapped IPv6 form. */
function unmapped(address: string): string {
  return /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(address) ? address.slice("::ffff:".length) : address;
}
