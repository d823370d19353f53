/**
 * The nodes an admin has seen lately, so that one whose registration was lost is not taken for one that never was.
 * A node that ends in order says so in its record before that goes; a record that only vanishes is remembered for a minute,
 * in which a node that still serves has registered anew.
 */
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { type KeyValue, prefixRange, type StoreSource } from "../store/store.ts";
import { follow } from "../store/store-follow.ts";
import { controlKeys } from "../store/store-keys.ts";
import { isLeaving } from "./registry.ts";

interface LatelySeenOptions {
  readonly source: StoreSource;
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
}

const LATELY_MS = 60_000;

export class LatelySeen {
  readonly #options: LatelySeenOptions;
  readonly #prefix: string;
  /** When its record vanished; undefined while it is there, as far as is known here. */
  readonly #seen = new Map<string, number | undefined>();
  #unfollow: (() => Promise<void>) | undefined;

  constructor(options: LatelySeenOptions) {
    this.#options = options;
    this.#prefix = controlKeys(options.prefix).nodes;
  }

  start(): void {
    const { source, clock, log } = this.#options;
    const listed = (kvs: readonly KeyValue[]): void => {
      const now = new Set(kvs.map(({ key }) => key));
      for (const id of this.#seen.keys()) if (!now.has(this.#prefix + id)) this.#gone(id);
      for (const kv of kvs) this.#shown(kv);
    };
    this.#unfollow ??= follow(
      source,
      prefixRange(this.#prefix),
      {
        listed,
        changed: (changes) => {
          for (const { key, kv } of changes) {
            if (kv === undefined) this.#gone(key.slice(this.#prefix.length));
            else this.#shown(kv);
          }
        },
      },
      clock,
      log,
    );
  }

  async stop(): Promise<void> {
    await this.#unfollow?.();
    this.#unfollow = undefined;
  }

  /** @param registered now, read from the store: newer than what was followed so far */
  missing(registered: readonly string[]): readonly string[] {
    const oldest = this.#options.clock.monotonicMs() - LATELY_MS;
    for (const [id, goneMs] of this.#seen) if (goneMs !== undefined && goneMs < oldest) this.#seen.delete(id);
    return [...this.#seen.keys()].filter((id) => !registered.includes(id));
  }

  #shown({ key, value }: KeyValue): void {
    const id = key.slice(this.#prefix.length);
    if (isLeaving(value)) this.#seen.delete(id);
    else this.#seen.set(id, undefined);
  }

  #gone(id: string): void {
    if (this.#seen.has(id) && this.#seen.get(id) === undefined) this.#seen.set(id, this.#options.clock.monotonicMs());
  }
}
