/**
 * Looks a name up once: hosts file, then the DNS servers with their TTL, then the system (search domains, mDNS, NSS).
 * Promise: IPv4 addresses are preferred, families are never mixed; every way ends within its time limit.
 */
import { ADDRCONFIG } from "node:dns";
import { Resolver, lookup as systemLookup } from "node:dns/promises";
import { readFile, stat } from "node:fs/promises";
import { isIP, isIPv4, isIPv6 } from "node:net";
import { Limiter } from "../limiter.ts";

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

/**
 * The machine's hosts file: names the operator settled by hand. Read again when the file changes.
 * Promise: a missing or unreadable file settles nothing and breaks nothing.
 */

/** Beyond this the file is left to the system's own resolver: parsing it would hold up requests. */
const MAX_BYTES = 2 * 1024 * 1024;

class HostsFile {
  readonly #path: string;
  #version = "";
  #names: ReadonlyMap<string, readonly string[]> = new Map();

  constructor(path = "/etc/hosts") {
    this.#path = path;
  }

  /** @param name in lower case. @returns its IPv4 addresses, else its IPv6 addresses; empty when it is not listed */
  async find(name: string): Promise<readonly string[]> {
    await this.#refresh();
    const listed = this.#names.get(name) ?? [];
    const four = listed.filter((address) => isIPv4(address));
    return four.length > 0 ? four : listed;
  }

  async #refresh(): Promise<void> {
    try {
      const { mtimeMs, size, ino } = await stat(this.#path);
      const version = `${ino} ${mtimeMs} ${size}`;
      if (version === this.#version) return;
      this.#names = size > MAX_BYTES ? new Map() : parseHosts(await readFile(this.#path, "utf8"));
      this.#version = version;
    } catch {
      // Containers without the file are common; names are then looked up elsewhere.
      this.#names = new Map();
      this.#version = "";
    }
  }
}

function parseHosts(text: string): ReadonlyMap<string, readonly string[]> {
  const names = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [address = "", ...hosts] = line.replace(/#.*$/, "").trim().split(/\s+/);
    if (isIP(address) === 0) continue;
    for (const host of hosts) {
      const name = host.toLowerCase();
      const known = names.get(name);
      if (!known) names.set(name, [address]);
      else if (!known.includes(address)) known.push(address);
    }
  }
  return names;
}
