/**
 * What may be shown once: proofs and assertions, remembered by the node whichever of its processes they reach.
 * Promise: memory is bounded (a million entries a scope), and beyond the bound the oldest are forgotten early; when whoever
 * remembers does not answer, nothing counts as new.
 */
import { hash } from "node:crypto";
import type { WindowCounters } from "../../plugin/counters.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { nodeCounters } from "../limits/local-counters.ts";

/** @returns whether it was not shown before; waits only where a node has several processes */
export function openOnce(env: NodeEnv, scope: string): (text: string, seconds: number) => boolean | Promise<boolean> {
  // Counters remember 65,536 keys a scope.
  const windows = new Map<string, WindowCounters>();
  return (text, seconds) => {
    const key = hash("sha256", text, "hex").slice(0, 32);
    const digit = key.charAt(0);
    const mine = windows.get(digit) ?? nodeCounters(env).windows(`${scope}/${digit}`);
    windows.set(digit, mine);
    const use = mine.hit(key, { limit: 1, windowMs: Math.ceil(seconds * 1_000), sliding: false }, 1);
    return use instanceof Promise
      ? use.then(
          ({ allowed }) => allowed,
          () => false,
        )
      : use.allowed;
  };
}
