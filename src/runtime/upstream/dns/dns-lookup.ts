/**
 * Looks a name up once: hosts file, then the DNS servers with their TTL, then the system (search domains, mDNS, NSS).
 * Promise: IPv4 addresses are preferred, families are never mixed; every way ends within its time limit.
 */
import { ADDRCONFIG } from "node:dns";
import { Resolver, lookup as systemLookup } from "node:dns/promises";
import { isIPv6 } from "node:net";
import { Limiter } from "../../../base/limiter.ts";
import { HostsFile } from "./hosts-file.ts";

export interface DnsAnswer {
  /** IP literals, at least one. */
  readonly addresses: readonly string[];
  readonly ttlSeconds: number;
}

/** @throws whatever says why the name has no address */
export type DnsLookup = (name: string) => Promise<DnsAnswer>;

interface DnsLookupOptions {
  /** "ip", "ip:port" or "[ipv6]:port"; none: those of /etc/resolv.conf. */
  readonly servers?: readonly string[];
  readonly hostsPath?: string;
  /** Time for the servers to answer one look-up, shared among them; each is asked twice. Default 5000. */
  readonly timeoutMs?: number;
}

/** How long answers without a TTL of their own (hosts file, system) are believed. */
const UNDATED_SECONDS = 5;
/** A silent server: asking the system as well would only hold one of libuv's four threads for seconds. */
const SILENT: ReadonlySet<unknown> = new Set(["ETIMEOUT", "ECANCELLED"]);

/** @throws TypeError when a server is no address */
export function makeDnsLookup(options: DnsLookupOptions = {}): DnsLookup {
  const hosts = new HostsFile(options.hostsPath);
  const resolver = openResolver(options.servers ?? [], options.timeoutMs ?? 5_000);
  const system = new Limiter(1);
  return async (name) => {
    const wanted = name.toLowerCase().replace(/\.$/, "");
    const listed = await hosts.find(wanted);
    if (listed.length > 0) return { addresses: listed, ttlSeconds: UNDATED_SECONDS };
    try {
      return await askServers(resolver, wanted);
    } catch (error) {
      if (SILENT.has(codeOf(error))) throw error;
      return await system.run(() => askSystem(wanted, error));
    }
  };
}

function openResolver(servers: readonly string[], timeoutMs: number): Resolver {
  const count = servers.length || Math.max(1, new Resolver().getServers().length);
  // The second round of questions waits twice as long as the first.
  const questionMs = Math.max(50, Math.floor(timeoutMs / (3 * count)));
  const resolver = new Resolver({ timeout: questionMs, tries: 2 });
  if (servers.length > 0) resolver.setServers([...servers]);
  return resolver;
}

async function askServers(resolver: Resolver, name: string): Promise<DnsAnswer> {
  try {
    return readAnswer(await resolver.resolve4(name, { ttl: true }));
  } catch (error) {
    if (codeOf(error) !== "ENODATA") throw error;
    return readAnswer(await resolver.resolve6(name, { ttl: true }));
  }
}

function readAnswer(records: readonly { readonly address: string; readonly ttl: number }[]): DnsAnswer {
  return {
    addresses: records.map((record) => record.address),
    ttlSeconds: records.reduce((least, record) => Math.min(least, record.ttl), Number.POSITIVE_INFINITY),
  };
}

async function askSystem(name: string, earlier: unknown): Promise<DnsAnswer> {
  try {
    const found = (await systemLookup(name, { all: true, hints: ADDRCONFIG })).map(({ address }) => address);
    const four = found.filter((address) => !isIPv6(address));
    return { addresses: four.length > 0 ? four : found, ttlSeconds: UNDATED_SECONDS };
  } catch {
    // The servers' own word says more than the system's.
    throw earlier;
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}
