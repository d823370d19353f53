/**
 * Shared state that outlives configuration changes: made on first use, counted, closed some time after the last user
 * gave it back, so that a record that is replaced (and compiled at its next request) finds its counters again.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { StateRegistry } from "../plugin/plugin.ts";

export interface States extends StateRegistry {
  /** States that exist, lingering ones included. */
  readonly size: number;
  /** Closes all of them, whoever holds them, and waits; for the end of the process. */
  close(): Promise<void>;
}

/** How long an unused state is kept: longer than any request that may still use it, and than the gap between two. */
export const LINGER_MS = 30_000;

interface Held {
  readonly state: unknown;
  readonly close: () => void | Promise<void>;
  users: number;
}

export function openStates(clock: Clock): States {
  const held = new Map<string, Held>();
  /** Key → when to close, in order of time. */
  const lingering = new Map<string, number>();
  let timer: Timer | undefined;

  const sweep = (): void => {
    timer = undefined;
    const now = clock.monotonicMs();
    for (const [key, atMs] of lingering) {
      if (atMs > now) {
        timer = clock.after(atMs - now, sweep);
        return;
      }
      lingering.delete(key);
      const gone = held.get(key);
      held.delete(key);
      void gone?.close();
    }
  };

  const release = (key: string, entry: Held): void => {
    entry.users--;
    if (entry.users > 0 || held.get(key) !== entry) return;
    lingering.delete(key); // to the end of the line
    lingering.set(key, clock.monotonicMs() + LINGER_MS);
    timer ??= clock.after(LINGER_MS, sweep);
  };

  return {
    get size() {
      return held.size;
    },
    hold<T>(key: string, make: () => T, close?: (state: T) => void | Promise<void>) {
      let entry = held.get(key);
      if (!entry) {
        const state = make();
        entry = { state, users: 0, close: () => close?.(state) };
        held.set(key, entry);
      }
      const mine = entry;
      mine.users++;
      lingering.delete(key);
      let isReleased = false;
      return {
        // True: keys begin with what makes the state, so the same key always comes with the same type.
        state: mine.state as T,
        release() {
          if (isReleased) return;
          isReleased = true;
          release(key, mine);
        },
      };
    },
    async close() {
      timer?.cancel();
      timer = undefined;
      lingering.clear();
      const entries = [...held.values()];
      held.clear();
      await Promise.all(entries.map((entry) => entry.close()));
    },
  };
}
