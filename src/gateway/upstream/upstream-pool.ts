/**
 * Idle connections to one address under one TLS identity, newest first.
 * Promise: none waits longer than `idleMs` or than the upstream said, none carries more than `requests` requests; how
 * many wait is bounded by the address, whatever names they carry (upstream-idle.ts).
 */
import type { PoolSettings, Timeouts } from "../../runtime/upstream/upstream-unit.ts";
import type { HeadMemory } from "../http/remembered-bytes.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import type { WriteScheduler } from "../write-scheduler.ts";
import type { CallPool, UpstreamCall } from "./upstream-call.ts";
import { type ConnectionHome, UpstreamConnection } from "./upstream-connection.ts";
import type { IdleConnections } from "./upstream-idle.ts";
import { RememberedHead, type ResponseLimits } from "./upstream-response.ts";
import { type ConnectOptions, openUpstreamSocket } from "./upstream-socket.ts";

/** What the pools of one client share. */
export interface PoolContext {
  readonly wheel: TimerWheel;
  readonly writes: WriteScheduler;
  readonly limits: ResponseLimits;
  readonly heads: HeadMemory;
  /** Counts an opened connection. @returns false when there are too many */
  admit(): boolean;
  /** A connection of that pool is gone. */
  released(pool: CallPool): void;
}

export class UpstreamPool implements ConnectionHome, CallPool {
  readonly wheel: TimerWheel;
  readonly writes: WriteScheduler;
  readonly limits: ResponseLimits;
  /** What its upstream answers time and again. */
  readonly heads: RememberedHead;
  readonly key: string;
  /** All that wait at this address. */
  readonly resting: IdleConnections;
  readonly #context: PoolContext;
  readonly #facts: PoolSettings;
  readonly #options: ConnectOptions;
  readonly #idle: UpstreamConnection[] = [];
  readonly #all = new Set<UpstreamConnection>();

  constructor(
    key: string,
    context: PoolContext,
    facts: PoolSettings,
    options: ConnectOptions,
    resting: IdleConnections,
  ) {
    this.key = key;
    this.resting = resting;
    this.wheel = context.wheel;
    this.writes = context.writes;
    this.limits = context.limits;
    this.heads = new RememberedHead(context.heads);
    this.#context = context;
    this.#facts = facts;
    this.#options = options;
  }

  /** Connections open now. */
  get open(): number {
    return this.#all.size;
  }

  /**
   * Finds or opens a connection; the call hears `onConnected`, at once for one that waited.
   * @param fresh true: never one that was used before
   * @returns the connection, so that it can be abandoned while it connects; undefined when there are too many
   */
  take(call: UpstreamCall, timeouts: Timeouts, fresh: boolean): UpstreamConnection | undefined {
    while (!fresh) {
      const connection = this.#idle.pop();
      if (!connection) break;
      if (!connection.isUsable) {
        connection.destroy();
        continue;
      }
      this.resting.delete(connection);
      this.wheel.disarm(connection);
      connection.begin(call, timeouts);
      return connection;
    }
    if (!this.#context.admit()) return undefined;
    const connection = new UpstreamConnection(this, timeouts);
    this.#all.add(connection);
    connection.reserve(call);
    openUpstreamSocket(this.#options, connection);
    return connection;
  }

  keep(connection: UpstreamConnection, announcedMs: number | undefined): boolean {
    const { idleMs, requests } = this.#facts;
    const waitMs = announcedMs === undefined ? idleMs : Math.min(idleMs, announcedMs);
    if (waitMs <= 0 || connection.requests >= requests || !this.resting.add(connection)) return false;
    this.#idle.push(connection);
    this.wheel.arm(connection, waitMs);
    return true;
  }

  gone(connection: UpstreamConnection): void {
    if (!this.#all.delete(connection)) return;
    if (this.resting.delete(connection)) {
      const at = this.#idle.lastIndexOf(connection);
      if (at >= 0) this.#idle.splice(at, 1);
    }
    this.#context.released(this);
  }

  /** Closes what waits; connections at work go when they are done. */
  closeIdle(): void {
    for (const connection of [...this.#idle]) connection.destroy();
  }

  /** Closes everything at once. */
  destroy(): void {
    for (const connection of [...this.#all]) connection.destroy();
  }

  forget(): void {
    this.heads.forget();
  }
}
