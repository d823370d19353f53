/**
 * Who failed to authenticate too often: one client id from one address, or one address whatever it claims to be.
 * Promise: bounded memory whatever is tried; an address that guesses one client's secret shuts out nobody else; the
 * processes of a node count together.
 * Source: docs/spec/tokens.md section 7.1.
 */
import type { Clock } from "../../base/clock.ts";
import type { Siblings } from "../../plugin/plugin.ts";
import { type Ending, ExpiringMap } from "../shared/expiring-map.ts";

const WINDOW_MS = 60_000;
const CLIENT_FAILURES = 10;
const ADDRESS_FAILURES = 100;
const ENTRIES = 20_000;

interface Failures extends Ending {
  count: number;
}

export interface FailureLimits {
  /** @returns whole seconds until it may be tried again; 0: now */
  refusedFor(client: string, address: string): number;
  failed(client: string, address: string): void;
}

const TOPIC = "oauth2-client failures";

export function openFailureLimits(clock: Clock, siblings: Siblings | undefined): FailureLimits {
  const byClient = new ExpiringMap<Failures>(ENTRIES);
  const byAddress = new ExpiringMap<Failures>(ENTRIES);
  const note = (map: ExpiringMap<Failures>, key: string, now: number): void => {
    const known = map.get(key, now);
    if (known) known.count++;
    else map.set(key, { count: 1, endMs: now + WINDOW_MS }, now);
  };
  const count = (client: string, address: string): void => {
    const now = clock.monotonicMs();
    note(byClient, `${address} ${client}`, now);
    note(byAddress, address, now);
  };
  const others = siblings?.join(TOPIC, (message) => {
    if (!Array.isArray(message)) return;
    const [client, address] = message as readonly unknown[];
    if (typeof client === "string" && typeof address === "string") count(client, address);
  });
  return {
    refusedFor(client, address) {
      const now = clock.monotonicMs();
      const one = byClient.get(`${address} ${client}`, now);
      const all = byAddress.get(address, now);
      const end = Math.max(
        one && one.count >= CLIENT_FAILURES ? one.endMs : 0,
        all && all.count >= ADDRESS_FAILURES ? all.endMs : 0,
      );
      return end === 0 ? 0 : Math.max(1, Math.ceil((end - now) / 1_000));
    },
    failed(client, address) {
      count(client, address);
      others?.tell([client, address]);
    },
  };
}
