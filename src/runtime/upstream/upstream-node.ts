/**
 * One node of an upstream, alive: gives out its address as a Target and takes reports of tries.
 * Promise: a request with a known address costs no allocation here; Target objects change only with the addresses.
 */

import type { BalancedNode, NodeLoad } from "./balance/balancer.ts";
import type { DomainName } from "./dns/domain-name.ts";
import type { NodeHealth } from "./health/node-health.ts";
import type { TargetSpec } from "./target-list.ts";
import type { AttemptOutcome, Target } from "./upstream-unit.ts";

/** State that the node shares with other configurations; whoever made it gives it back. */
interface UpstreamNodeParts {
  /** Absent for IP literals. */
  readonly name: DomainName | undefined;
  readonly health: NodeHealth | undefined;
  readonly load: NodeLoad | undefined;
}

/** Addresses of one name that one try goes through. */
const ADDRESSES_TRIED_MAX = 8;

export class UpstreamNode implements BalancedNode {
  readonly id: string;
  readonly weight: number;
  readonly priority: number;
  readonly spec: TargetSpec;
  readonly health: NodeHealth | undefined;
  readonly load: NodeLoad | undefined;
  readonly #name: DomainName | undefined;
  #targets: readonly Target[];
  #version = 0;
  #turn: number;

  constructor(spec: TargetSpec, parts: UpstreamNodeParts, random: () => number) {
    this.id = spec.id;
    this.weight = spec.weight;
    this.priority = spec.priority;
    this.spec = spec;
    this.health = parts.health;
    this.load = parts.load;
    this.#name = parts.name;
    this.#targets = parts.name ? [] : [makeTarget(spec, spec.host)];
    this.#turn = Math.floor(random() * 0x10000);
  }

  /** False while health checks say that it must not be used. */
  get isHealthy(): boolean {
    return this.health === undefined || this.health.isUsable;
  }

  /** True when its name never had an address and cannot be looked up now. */
  get isLost(): boolean {
    return this.#name?.isLost === true;
  }

  /** Address to show: the one in use, else the host as configured. */
  get address(): string {
    return this.#name ? (this.#name.addresses[0] ?? this.spec.host) : this.spec.host;
  }

  /** All that its name has now, and those that requests were given last. */
  addresses(): readonly string[] {
    return [...(this.#name?.addresses ?? []), ...this.#targets.map(({ address }) => address)];
  }

  /** The address to try now, one after the other. @returns undefined while none is known */
  take(): Target | undefined {
    if (this.#name) {
      void this.#name.want();
      if (this.#name.version !== this.#version) this.#readdress(this.#name);
    }
    const targets = this.#targets;
    if (targets.length < 2) return targets[0];
    this.#turn = (this.#turn + 1) % targets.length;
    return targets[this.#turn];
  }

  /** An address after that of `target`, in the order of `take`. @returns undefined once all `tried` so many are */
  takeAfter(target: Target, tried: number): Target | undefined {
    const targets = this.#targets;
    if (tried >= Math.min(targets.length, ADDRESSES_TRIED_MAX)) return undefined;
    const next = targets[(targets.indexOf(target) + 1) % targets.length];
    return next === target ? undefined : next;
  }

  /** @returns what to wait for before `take` can succeed, if it can */
  lookUp(): Promise<void> | undefined {
    return this.#name?.want();
  }

  /** Wakes what sleeps until the first request: look-ups and probes. @returns the way to end the probes */
  wake(): (() => void) | undefined {
    void this.lookUp();
    return this.health?.start();
  }

  begin(): void {
    this.load?.begin();
  }

  end(outcome: AttemptOutcome): void {
    this.load?.end(outcome);
    this.health?.observe(outcome);
  }

  #readdress(name: DomainName): void {
    const known = new Map(this.#targets.map((target) => [target.address, target]));
    this.#targets = name.addresses.map((address) => known.get(address) ?? makeTarget(this.spec, address));
    this.#version = name.version;
  }
}

function makeTarget(spec: TargetSpec, address: string): Target {
  const { id, host, port, hostHeader } = spec;
  return Object.freeze({ id, host, port, address, hostHeader });
}
