/**
 * What the lanes need to know of an upstream to forward one request: frozen facts plus the picking of targets.
 * Sockets and HTTP live in src/gateway; names, weights, health and balancing live here.
 */
import type { RequestView } from "../../plugin/request-view.ts";

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
