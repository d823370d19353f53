/**
 * Lets writes of one key through one after another, so that writers of this process do not make each other's
 * compare-and-swap fail. Between processes the store decides.
 * Promise: bounded; a key nobody writes takes no memory.
 */
import { GatewayError } from "../../base/errors.ts";

export interface KeyQueue {
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

const WAITING_MAX = 256; // per key; more is a runaway client, and each may wait for the store's deadline

export function openKeyQueue(): KeyQueue {
  const tails = new Map<string, { last: Promise<unknown>; waiting: number }>();
  return {
    async run(key, work) {
      const line = tails.get(key) ?? { last: Promise.resolve(), waiting: 0 };
      if (line.waiting >= WAITING_MAX) {
        throw new GatewayError("STORE_UNAVAILABLE", { message: "too many writes of this record are waiting" });
      }
      tails.set(key, line);
      line.waiting++;
      const turn = line.last.then(work);
      // The next in line waits for the end of this turn, however it ends.
      line.last = turn.catch(() => undefined);
      try {
        return await turn;
      } finally {
        line.waiting--;
        if (line.waiting === 0) tails.delete(key);
      }
    },
  };
}
