/**
 * What the lanes need to know of an upstream to forward one request: frozen facts plus the picking of targets.
 * Sockets and HTTP live in src/gateway; names, weights, health and balancing live here.
 */
import type { RequestView } from "../../plugin/request-view.ts";
import type { BalancedNode, NodeLoad } from "./balance/balancer.ts";
import type { DomainName } from "./dns/domain-name.ts";
import type { NodeHealth } from "./health/node-health.ts";
import type { TargetSpec } from "./target-list.ts";

/** One address a request can be sent to. The object lives as long as its host, port and health state matter. */
export interface Target {
  /** "host:port" as configured; key of health state and metrics label. */
  readonly id: string;
  /** Host as configured: a name or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
  /** IP literal to connect to now (a domain's current address). */
  readonly address: string;
  /** Host header for pass_host=node: the host, with ":port" unless it is the scheme's default. */
  readonly hostHeader: string;
}

export interface Timeouts {
  readonly connectMs: number;
  readonly sendMs: number;
  readonly readMs: number;
}

/** Connections that may be shared are shared under `key`; it covers scheme, TLS identity and keep-alive limits. */
export interface PoolSettings {
  readonly key: string;
  readonly size: number;
  readonly idleMs: number;
  /** Requests after which a connection is not reused. */
  readonly requests: number;
}

export interface UpstreamTls {
  readonly verify: boolean;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

/** State of one request's attempts, made by `UpstreamUnit.start`. */
export interface Attempts {
  /** Targets given out so far, in order. */
  readonly tried: readonly Target[];
  /**
   * The next target: never one that was tried already, unless the upstream has a single target and retries are left.
   * undefined when none is left or retries are used up. A promise only while a domain has no known address yet.
   */
  next(): Target | undefined | Promise<Target | undefined>;
  /**
   * Another address of the last target's name, after a refused connection: part of the same try.
   * @returns undefined when all were tried, or `retry_timeout` is over
   */
  nextAddress(): Target | undefined;
  /** Whether another try is allowed by `retries` and `retry_timeout`: "yes", "exhausted", or "timeout" (answer 502). */
  mayRetry(): "yes" | "exhausted" | "timeout";
  /** Reports how the try to the last target ended; feeds least_conn, ewma and passive health. Call once per target. */
  report(outcome: AttemptOutcome): void;
}

export type AttemptOutcome =
  | { readonly kind: "response"; readonly status: number; readonly latencyMs: number }
  | { readonly kind: "refused" } // connect failed, reset, broken response
  | { readonly kind: "timeout" }
  | { readonly kind: "aborted" }; // the client went away: says nothing about the target

export interface UpstreamUnit {
  /** Record id, or "" for an inline upstream. */
  readonly id: string;
  readonly name: string;
  readonly scheme: "http" | "https" | "grpc" | "grpcs";
  /** Its nodes are spoken to in HTTP/2: those of gRPC always, others where the record says so. */
  readonly http2: boolean;
  readonly passHost: "pass" | "node" | "rewrite";
  readonly upstreamHost: string;
  readonly timeouts: Timeouts;
  readonly pool: PoolSettings;
  readonly tls: UpstreamTls | undefined;
  /** Begins the attempts of one request. @returns undefined when the upstream has no usable node at all (503) */
  start(view: RequestView): Attempts | undefined;
  /** What `start` would choose among, now, without taking a turn or waking health checks; undefined as there. */
  preview?(view: RequestView): UpstreamPreview | undefined;
}

export interface UpstreamPreview {
  /** Whose turn it is; for `least_conn` and `ewma` one of those that may be next. */
  readonly next: string | undefined;
  readonly nodes: readonly {
    readonly node: string;
    readonly weight: number;
    readonly priority: number;
    readonly healthy: boolean;
  }[];
}

/**
 * One node of an upstream, alive: gives out its address as a Target and takes reports of tries.
 * Promise: a request with a known address costs no allocation here; Target objects change only with the addresses.
 */

/** State that the node shares with other configurations; whoever made it gives it back. */
interface UpstreamNodeParts {
  /** Absent for IP literals. */
  readonly name: DomainName | undefined;
  readonly health: NodeHealth | undefined;
  readonly load: NodeLoad | undefined;
  /** Told of addresses that the name has no more. */
  readonly moved: ((addresses: readonly string[]) => void) | undefined;
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
  readonly #moved: UpstreamNodeParts["moved"];
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
    this.#moved = parts.moved;
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
    const gone = [...known.keys()].filter((address) => !name.addresses.includes(address));
    if (gone.length > 0) this.#moved?.(gone);
  }
}

function makeTarget(spec: TargetSpec, address: string): Target {
  const { id, host, port, hostHeader } = spec;
  return Object.freeze({ id, host, port, address, hostHeader });
}
