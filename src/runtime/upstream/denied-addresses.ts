/**
 * Addresses that no upstream node may have (`upstreams.deny_addresses`), whether written in a record or found by name.
 * Promise: nothing on the list is ever connected to. An empty list costs nothing.
 */
import { isIP } from "node:net";
import { GatewayError } from "../../base/errors.ts";
import type { IpSet } from "../../base/net/ip.ts";
import type { DnsLookup } from "./dns/dns-lookup.ts";
import type { TargetSpec } from "./target-list.ts";

/** @throws GatewayError CONFIG_INVALID naming the first node with a denied address */
export function refuseDenied(targets: readonly TargetSpec[], denied: IpSet | undefined): void {
  const bad = denied && targets.find((target) => isIP(target.host) !== 0 && denied(target.host));
  if (bad)
    throw new GatewayError("CONFIG_INVALID", {
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
