/**
 * The names that upstream nodes and their probes need, each held by count and looked up once for all.
 * Promise: what nobody holds is forgotten, so there are as many names as the configuration has; few look-ups run at once.
 */
import type { Clock } from "../../../base/clock.ts";
import { Limiter } from "../../../base/limiter.ts";
import type { Log } from "../../../base/log.ts";
import type { Metrics } from "../../../base/metrics.ts";
import type { DnsLookup } from "../../../base/net/dns-lookup.ts";
import { DomainName, type NameEnv, type NameStatus } from "./domain-name.ts";

export interface Dns {
  /** Holds a name; every hold is released once. The look-up starts when the name is first wanted. */
  open(name: string): HeldName;
  /** Every held name, for the status page. */
  names(): readonly NameStatus[];
  /** Ends all look-ups and timers; addresses stay as they are. */
  close(): void;
}

export interface HeldName {
  readonly name: DomainName;
  release(): void;
}

interface DnsEnv {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly lookup: DnsLookup;
  /** How long a look-up may take before it counts as failed and nobody waits for it. Default 5000. */
  readonly timeoutMs?: number;
  /** In [0, 1); default Math.random. */
  readonly random?: () => number;
}

const MAX_LOOKUPS = 32;

export function openDns(env: DnsEnv): Dns {
  const names = new Map<string, { readonly name: DomainName; uses: number }>();
  const family = env.metrics.counter("jotgate_dns_lookups_total", "Look-ups of upstream names by outcome", ["outcome"]);
  const shared: NameEnv = {
    ...env,
    random: env.random ?? Math.random,
    timeoutMs: env.timeoutMs ?? 5_000,
    limiter: new Limiter(MAX_LOOKUPS),
    good: family.child("ok"),
    bad: family.child("failed"),
  };
  return {
    open(host) {
      const key = host.toLowerCase();
      let entry = names.get(key);
      if (!entry) {
        entry = { name: new DomainName(key, shared), uses: 0 };
        names.set(key, entry);
      }
      const held = entry;
      held.uses++;
      let released = false;
      return {
        name: held.name,
        release() {
          if (released) return;
          released = true;
          if (--held.uses > 0) return;
          names.delete(key);
          held.name.close();
        },
      };
    },
    names: () => [...names.values()].map(({ name }) => name.status()),
    close() {
      for (const { name } of names.values()) name.close();
    },
  };
}
