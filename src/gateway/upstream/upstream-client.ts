/**
 * The client of all lanes, for HTTP/1.1 and HTTP/2: finds the pool of a target and gives out its connections.
 * Promise: connections are shared only under the same pool key, address and TLS name; pools without connections vanish;
 * at the limit a connection that waits makes room for one that is needed.
 */
import { isIP } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import type {
  PoolSettings,
  Target,
  Timeouts,
  UpstreamTls,
  UpstreamUnit,
} from "../../runtime/upstream/upstream-unit.ts";
import type { HeadMemory } from "../http/remembered-bytes.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import type { WriteScheduler } from "../write-scheduler.ts";
import type { CallPool, UpstreamCall, UpstreamLink } from "./upstream-call.ts";
import { IdleAddresses } from "./upstream-idle.ts";
import { type PoolContext, UpstreamPool } from "./upstream-pool.ts";
import type { ResponseLimits } from "./upstream-response.ts";
import { UpstreamSessions } from "./upstream-sessions.ts";

interface ClientLimits extends ResponseLimits {
  /** Most connections to all upstreams together; may change. */
  readonly connections: number;
}

interface Bound {
  readonly pool: CallPool;
  readonly facts: PoolSettings;
  readonly address: string;
  readonly serverName: string | undefined;
  readonly isKept: boolean;
}

export class UpstreamClient implements PoolContext {
  readonly wheel: TimerWheel;
  readonly writes: WriteScheduler;
  readonly limits: ClientLimits;
  readonly heads: HeadMemory;
  readonly #pools = new Map<string, CallPool>();
  readonly #idle = new IdleAddresses();
  /** The pool a target led to last; most targets lead to one for life. */
  readonly #bound = new WeakMap<Target, Bound>();
  /** PEM texts are parsed once per TLS identity. */
  readonly #contexts = new WeakMap<UpstreamTls, SecureContext>();
  readonly #plainContext = createSecureContext();
  /** Connections open now. */
  open = 0;

  /** @param heads of responses are remembered there */
  constructor(wheel: TimerWheel, writes: WriteScheduler, limits: ClientLimits, heads: HeadMemory) {
    this.heads = heads;
    this.wheel = wheel;
    this.writes = writes;
    this.limits = limits;
  }

  /**
   * Begins a call to a target; see UpstreamCall for what it hears.
   * @param serverName host of the request without port, for TLS; ignored for http
   * @param isNamed    false: a caller made that name up, and no connection under it is kept
   * @param fresh      true: only a connection that was never used
   * @returns undefined when too many connections are open: nothing was sent, the call hears nothing
   */
  call(
    unit: UpstreamUnit,
    target: Target,
    serverName: string,
    isNamed: boolean,
    timeouts: Timeouts,
    fresh: boolean,
    call: UpstreamCall,
  ): UpstreamLink | undefined {
    const name = unit.scheme === "https" || unit.scheme === "grpcs" ? shownName(unit, serverName) : undefined;
    const isKept = isNamed || !name;
    const bound = this.#bound.get(target);
    if (
      bound &&
      bound.facts === unit.pool &&
      bound.address === target.address &&
      bound.serverName === name &&
      bound.isKept === isKept &&
      bound.pool.open > 0 // else it was forgotten, and another may stand under its key
    ) {
      return bound.pool.take(call, timeouts, fresh);
    }
    const pool = this.#pool(unit, target, name, isKept);
    this.#bound.set(target, { pool, facts: unit.pool, address: target.address, serverName: name, isKept });
    return pool.take(call, timeouts, fresh);
  }

  admit(): boolean {
    while (this.open >= this.limits.connections) if (!this.#idle.closeOne()) return false;
    this.open++;
    return true;
  }

  released(pool: CallPool): void {
    this.open--;
    if (pool.open > 0 || this.#pools.get(pool.key) !== pool) return;
    this.#pools.delete(pool.key);
    pool.forget();
    this.#idle.release(pool.resting);
  }

  /** Idle connections now, over all pools. */
  get idle(): number {
    return this.#idle.count;
  }

  closeIdle(): void {
    for (const pool of [...this.#pools.values()]) pool.closeIdle();
  }

  destroy(): void {
    for (const pool of [...this.#pools.values()]) pool.destroy();
  }

  #pool(unit: UpstreamUnit, target: Target, serverName: string | undefined, isKept: boolean): CallPool {
    const place = `${unit.pool.key} ${target.address} ${target.port}${isKept ? "" : " not kept"}`;
    const key = `${place} ${serverName ?? ""}`;
    const known = this.#pools.get(key);
    if (known) return known;
    const tls =
      serverName === undefined
        ? undefined
        : { serverName, verify: unit.tls?.verify === true, context: this.#context(unit.tls) };
    const resting = this.#idle.hold(place, isKept ? unit.pool.size : 0);
    const options = { address: target.address, port: target.port, tls };
    const Pool = unit.http2 ? UpstreamSessions : UpstreamPool;
    const pool = new Pool(key, this, unit.pool, options, resting);
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

/** What of the name shows in a handshake: an address is not sent, and where nothing is verified it means nothing. */
function shownName(unit: UpstreamUnit, serverName: string): string {
  return unit.tls?.verify !== true && isIP(serverName) !== 0 ? "" : serverName;
}
