/**
 * What may be shown once: proofs and assertions, remembered by the node whichever of its processes they reach.
 * Promise: memory is bounded (a million entries a scope), and beyond the bound the oldest are forgotten early; when whoever
 * remembers does not answer, nothing counts as new.
 */
import { hash } from "node:crypto";
import type { Counters, WindowCounters, WindowUse } from "../../plugin/counters.ts";

/** "unchecked": whoever remembers does not answer. */
export type FirstUse = "first" | "replayed" | "unchecked";

/** Waits only where somebody else remembers. */
export interface Once {
  isFirst(text: string, seconds: number): FirstUse | Promise<FirstUse>;
  release(): void;
}

/** @param counters that remember */
export function openOnce(counters: Counters, scope: string): Once {
  // Counters of a node remember 65,536 keys a scope.
  const windows = new Map<string, WindowCounters>();
  return {
    isFirst(text, seconds) {
      const key = hash("sha256", text, "hex").slice(0, 32);
      const digit = key.charAt(0);
      let mine = windows.get(digit);
      if (mine === undefined) {
        mine = counters.windows(`${scope}/${digit}`);
        windows.set(digit, mine);
      }
      const use = mine.hit(key, { limit: 1, windowMs: Math.ceil(seconds * 1_000), sliding: false }, 1);
      return use instanceof Promise ? use.then(firstUse, () => "unchecked") : firstUse(use);
    },
    release() {
      for (const one of windows.values()) one.release();
      windows.clear();
    },
  };
}

function firstUse({ allowed }: WindowUse): FirstUse {
  return allowed ? "first" : "replayed";
}
