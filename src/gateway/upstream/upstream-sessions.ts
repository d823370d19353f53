/**
 * The HTTP/2 sessions to one address under one TLS identity, and the calls that wait for room on one.
 * Promise: a call gets the first stream that is free, in its turn; no more than `keepalive_pool.size` sessions take
 * streams (those that leave end theirs beside them), no more than `WAITING_MAX` calls wait, and none longer than for a connection.
 */
import type { PoolSettings, Timeouts } from "../../runtime/upstream/upstream-unit.ts";
import type { TimerWheel } from "../timer-wheel.ts";
import type { CallPool, UpstreamCall } from "./upstream-call.ts";
import type { IdleConnections } from "./upstream-idle.ts";
import type { PoolContext } from "./upstream-pool.ts";
import type { ResponseLimits } from "./upstream-response.ts";
import { UpstreamSession } from "./upstream-session.ts";
import type { ConnectOptions } from "./upstream-socket.ts";
import { UpstreamStream } from "./upstream-stream.ts";

const WAITING_MAX = 4_096;
/** What a session is expected to take before its peer has said so (RFC 9113 section 6.5.2 wants no less). */
const EXPECTED_STREAMS = 100;

export class UpstreamSessions implements CallPool {
  readonly key: string;
  readonly wheel: TimerWheel;
  readonly limits: ResponseLimits;
  readonly facts: PoolSettings;
  readonly resting: IdleConnections;
  readonly #context: PoolContext;
  readonly #options: ConnectOptions;
  /** Those that are open, leaving ones too. */
  readonly #all = new Set<UpstreamSession>();
  /** Those that take streams, or soon will. */
  readonly #usable = new Set<UpstreamSession>();
  readonly #waiting = new Set<UpstreamStream>();

  constructor(
    key: string,
    context: PoolContext,
    facts: PoolSettings,
    options: ConnectOptions,
    resting: IdleConnections,
  ) {
    this.key = key;
    this.wheel = context.wheel;
    this.limits = context.limits;
    this.facts = facts;
    this.resting = resting;
    this.#context = context;
    this.#options = options;
  }

  get open(): number {
    return this.#all.size;
  }

  take(call: UpstreamCall, timeouts: Timeouts, fresh: boolean): UpstreamStream | undefined {
    const stream = new UpstreamStream(this, call, timeouts, fresh);
    const session = this.#waiting.size === 0 ? this.#free() : undefined;
    if (session) {
      this.resting.delete(session);
      stream.begin(session);
      return stream;
    }
    if (this.#waiting.size >= WAITING_MAX) return undefined;
    this.#waiting.add(stream);
    if (!this.#reach(timeouts)) {
      this.#waiting.delete(stream);
      return undefined;
    }
    stream.wait();
    return stream;
  }

  leave(stream: UpstreamStream): void {
    this.#waiting.delete(stream);
  }

  ready(session: UpstreamSession): void {
    for (const stream of this.#waiting) {
      if (session.room === 0) break;
      this.#waiting.delete(stream);
      this.resting.delete(session);
      stream.begin(session);
    }
    this.#reachForNext();
  }

  rest(session: UpstreamSession): boolean {
    return this.facts.idleMs > 0 && this.resting.add(session);
  }

  leaving(session: UpstreamSession): void {
    this.#usable.delete(session);
    this.resting.delete(session);
  }

  gone(session: UpstreamSession): void {
    this.leaving(session);
    if (!this.#all.delete(session)) return;
    this.#context.released(this);
    if (this.#usable.size > 0) {
      this.#reachForNext();
      return;
    }
    // Who waits has waited for this one.
    const message = session.lostBy ?? "connection closed";
    const kind = session.timedOut ? "connect_timeout" : "connect";
    for (const stream of [...this.#waiting]) stream.fail(kind, message, session.nameRefused);
  }

  closeIdle(): void {
    for (const session of [...this.#usable]) session.close();
  }

  destroy(): void {
    for (const session of [...this.#all]) session.destroy();
  }

  forget(): void {}

  #free(): UpstreamSession | undefined {
    for (const session of this.#usable) if (session.room > 0) return session;
    return undefined;
  }

  /** Who still waits may need another session than those that were expected to do. */
  #reachForNext(): void {
    const [next] = this.#waiting;
    if (next) this.#reach(next.timeouts);
  }

  /** Sees to it that a session comes for those who wait. @returns false when none can be had */
  #reach(timeouts: Timeouts): boolean {
    let expected = 0;
    let isShut = false;
    for (const session of this.#usable) {
      if (!session.isReady) expected += EXPECTED_STREAMS;
      else if (session.isShut) isShut = true;
    }
    if (this.#waiting.size <= expected || isShut || this.#usable.size >= this.facts.size) return this.#usable.size > 0;
    if (!this.#context.admit()) return this.#usable.size > 0;
    const session = new UpstreamSession(this, this.#options, timeouts);
    this.#all.add(session);
    this.#usable.add(session);
    return true;
  }
}
