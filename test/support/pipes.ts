/**
 * Two ends of a pipe in one process: messages arrive in order, copied, in a later turn.
 */
import { deserialize, serialize } from "node:v8";
import type { Pipe } from "../../src/base/channel.ts";

export function makePipes(): readonly [Pipe, Pipe] {
  const listeners: ((message: unknown) => void)[][] = [[], []];
  const end = (mine: number, theirs: number): Pipe => ({
    send(message) {
      const bytes = serialize(message);
      setImmediate(() => {
        for (const listener of listeners[theirs] ?? []) listener(deserialize(bytes));
      });
    },
    receive: (listener) => void listeners[mine]?.push(listener),
  });
  return [end(0, 1), end(1, 0)];
}
