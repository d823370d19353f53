/**
 * The HTTP/1.1 client both lanes forward with: finds the pool of a target and gives out its connections.
 * Promise: connections are shared only under the same pool key, address and TLS name; pools without connections vanish.
 */
import { createSecureContext, type SecureContext } from "node:tls";
import type { PoolFacts, Target, Timeouts, UpstreamTls, UpstreamUnit } from "../../runtime/upstream/upstream-unit.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import type { WriteBatch } from "../write-batch.ts";
import type { UpstreamCall } from "./upstream-call.ts";
import type { ResponseLimits, UpstreamConnection } from "./upstream-connection.ts";
import { type PoolContext, UpstreamPool } from "./upstream-pool.ts";

export interface ClientLimits extends ResponseLimits {
  /** Most connections to all upstreams together. */
  readonly connections: number;
}

interface Bound {
  readonly pool: UpstreamPool;
  readonly facts: PoolFacts;
  readonly address: string;
  readonly serverName: string | undefined;
}

export class UpstreamClient implements PoolContext {
  readonly wheel: TimerWheel;
  readonly writes: WriteBatch;
  readonly limits: ClientLimits;
  readonly #pools = new Map<string, UpstreamPool>();
  /** The pool a target led to last; most targets lead to one for life. */
  readonly #bound = new WeakMap<Target, Bound>();
  /** PEM texts are parsed once per TLS identity. */
  readonly #contexts = new WeakMap<UpstreamTls, SecureContext>();
  readonly #plainContext = createSecureContext();
  /** Connections open now. */
  open = 0;

  constructor(wheel: TimerWheel, writes: WriteBatch, limits: ClientLimits) {
    this.wheel = wheel;
    this.writes = writes;
    this.limits = limits;
  }

  /**
   * Begins a call to a target; see UpstreamCall for what it hears.
   * @param serverName host of the request without port, for TLS; ignored for http
   * @param fresh      true: only a connection that was never used
   * @returns undefined when too many connections are open: nothing was sent, the call hears nothing
   */
  call(
    unit: UpstreamUnit,
    target: Target,
    serverName: string,
    timeouts: Timeouts,
    fresh: boolean,
    call: UpstreamCall,
  ): UpstreamConnection | undefined {
    const name = unit.scheme === "https" || unit.scheme === "grpcs" ? serverName : undefined;
    const bound = this.#bound.get(target);
    if (
      bound &&
      bound.facts === unit.pool &&
      bound.address === target.address &&
      bound.serverName === name &&
      bound.pool.open > 0 // else it was forgotten, and another may stand under its key
    ) {
      return bound.pool.take(call, timeouts, fresh);
    }
    const pool = this.#pool(unit, target, name);
    this.#bound.set(target, { pool, facts: unit.pool, address: target.address, serverName: name });
    return pool.take(call, timeouts, fresh);
  }

  admit(): boolean {
    if (this.open >= this.limits.connections) return false;
    this.open++;
    return true;
  }

  released(pool: UpstreamPool): void {
    this.open--;
    if (pool.open === 0 && this.#pools.get(pool.key) === pool) this.#pools.delete(pool.key);
  }

  /** Idle connections now, over all pools. */
  get idle(): number {
    let count = 0;
    for (const pool of this.#pools.values()) count += pool.idle;
    return count;
  }

  closeIdle(): void {
    for (const pool of [...this.#pools.values()]) pool.closeIdle();
  }

  destroy(): void {
    for (const pool of [...this.#pools.values()]) pool.destroy();
  }

  #pool(unit: UpstreamUnit, target: Target, serverName: string | undefined): UpstreamPool {
    const key = `${unit.pool.key} ${target.address} ${target.port} ${serverName ?? ""}`;
    const known = this.#pools.get(key);
    if (known) return known;
    const tls =
      serverName === undefined
        ? undefined
        : { serverName, verify: unit.tls?.verify === true, context: this.#context(unit.tls) };
    const pool = new UpstreamPool(key, this, unit.pool, { address: target.address, port: target.port, tls });
    this.#pools.set(key, pool);
    return pool;
  }

  #context(tls: UpstreamTls | undefined): SecureContext {
    if (!tls || tls.cert === undefined || tls.key === undefined) return this.#plainContext;
    let context = this.#contexts.get(tls);
    if (!context) {
      context = createSecureContext({ cert: tls.cert, key: tls.key });
      this.#contexts.set(tls, context);
    }
    return context;
  }
}
