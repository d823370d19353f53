/**
 * Reads the nodes of an upstream record into one plain list: ports completed, IPv6 unbracketed, doubles merged.
 * Promise: whatever leaves here can be connected to or looked up; what the schema cannot know is refused here.
 */
import { isIP, isIPv6 } from "node:net";
import { CodedError } from "../../base/errors.ts";
import type { DnsLookup } from "../../base/net/dns-lookup.ts";
import type { IpSet } from "../../base/net/ip.ts";
import type { NodeRecord, UpstreamRecord } from "./upstream-record.ts";

export type Scheme = "http" | "https" | "grpc" | "grpcs";

export interface TargetSpec {
  /** "host:port", an IPv6 host in brackets. */
  readonly id: string;
  /** A name, or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  readonly weight: number;
  readonly priority: number;
  /** Host header for pass_host=node. */
  readonly hostHeader: string;
  /** True when the host must be looked up. */
  readonly isName: boolean;
}

const DEFAULT_PORTS: Readonly<Record<Scheme, number>> = { http: 80, https: 443, grpc: 80, grpcs: 443 };
const HOW = ': nodes are written "host:port", without a scheme ("scheme" is the upstream\'s) and without a path';
const HOST_NAME = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?$/;

/** @throws CodedError CONFIG_INVALID for schemes that are not HTTP */
export function readScheme(scheme: string | undefined): Scheme {
  if (scheme === undefined) return "http";
  if (Object.hasOwn(DEFAULT_PORTS, scheme)) return scheme as Scheme; // True: its keys are the schemes.
  throw invalid(`upstream scheme "${scheme}" cannot be used by a route`);
}

/**
 * The nodes in the order of the record; of two with the same address and priority the later one counts.
 * @throws CodedError CONFIG_INVALID for an unusable host, port, weight or priority
 */
export function readTargets(nodes: UpstreamRecord["nodes"], scheme: Scheme): readonly TargetSpec[] {
  if (nodes === undefined) return [];
  // True: Array.isArray does not narrow readonly arrays.
  const list = Array.isArray(nodes)
    ? (nodes as readonly NodeRecord[]).map(readItem)
    : Object.entries(nodes).map(readEntry);
  const found = new Map<string, TargetSpec>();
  for (const node of list) {
    const target = readNode(node, scheme);
    found.set(`${target.priority} ${target.id}`, target);
  }
  return [...found.values()];
}

/**
 * Those of the targets that ever get requests: with weight, or all where none has any.
 * The rule holds within one priority, as there each group is balanced alone.
 */
export function withWeight<T extends { readonly weight: number }>(targets: readonly T[]): readonly T[] {
  const weighty = targets.filter((target) => target.weight > 0);
  return weighty.length > 0 ? weighty : targets;
}

/** Targets by priority, highest first. */
export function byPriority<T extends { readonly priority: number }>(targets: readonly T[]): readonly (readonly T[])[] {
  const groups = new Map<number, T[]>();
  for (const target of targets) {
    const group = groups.get(target.priority);
    if (group) group.push(target);
    else groups.set(target.priority, [target]);
  }
  return [...groups].sort(([a], [b]) => b - a).map(([, group]) => group);
}

/** As with nginx, a port that stands in the host counts, whatever stands beside it. */
function readItem(node: NodeRecord): NodeRecord {
  return node.host.includes(":") ? { ...node, ...readEntry([node.host, node.weight]) } : node;
}

function readEntry([address, weight]: readonly [string, number]): NodeRecord {
  if (isIPv6(address)) return { host: address, weight };
  const bracket = address.startsWith("[") ? address.indexOf("]") : 0;
  const colon = address.indexOf(":", Math.max(bracket, 0));
  if (colon < 0) return { host: address, weight };
  const port = address.slice(colon + 1);
  if (!/^\d{1,5}$/.test(port)) throw invalid(`upstream node "${address}" has no valid port${HOW}`);
  return { host: address.slice(0, colon), port: Number(port), weight };
}

function readNode(node: NodeRecord, scheme: Scheme): TargetSpec {
  const host = node.host.startsWith("[") && node.host.endsWith("]") ? node.host.slice(1, -1) : node.host;
  const port = node.port ?? DEFAULT_PORTS[scheme];
  const priority = node.priority ?? 0;
  const family = isIP(host);
  if (family === 0 && !HOST_NAME.test(host)) throw invalid(`upstream node "${node.host}" is no host${HOW}`);
  if (family !== 6 && host !== node.host) throw invalid(`upstream node "${node.host}" is no IPv6 address`);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw invalid(`upstream node "${host}" has port ${port}`);
  if (!Number.isSafeInteger(node.weight) || node.weight < 0) {
    throw invalid(`upstream node "${host}" has weight ${node.weight}`);
  }
  if (!Number.isSafeInteger(priority)) throw invalid(`upstream node "${host}" has priority ${priority}`);
  const shown = family === 6 ? `[${host}]` : host;
  return Object.freeze({
    id: `${shown}:${port}`,
    host,
    port,
    weight: node.weight,
    priority,
    hostHeader: port === DEFAULT_PORTS[scheme] ? shown : `${shown}:${port}`,
    isName: family === 0,
  });
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}

/** @throws CodedError CONFIG_INVALID naming the first node with a denied address */
export function refuseDenied(targets: readonly TargetSpec[], denied: IpSet | undefined): void {
  const bad = denied && targets.find((target) => isIP(target.host) !== 0 && denied(target.host));
  if (bad)
    throw new CodedError("CONFIG_INVALID", {
      message: `upstream node ${bad.id} is denied by upstreams.deny_addresses`,
    });
}

/** Leaves denied addresses out of every answer; a name that has no other address has none. */
export function withoutDenied(lookup: DnsLookup, denied: IpSet | undefined): DnsLookup {
  if (!denied) return lookup;
  return async (name) => {
    const answer = await lookup(name);
    const addresses = answer.addresses.filter((address) => !denied(address));
    if (addresses.length === 0) throw new Error(`every address of ${name} is denied by upstreams.deny_addresses`);
    return { ...answer, addresses };
  };
}
