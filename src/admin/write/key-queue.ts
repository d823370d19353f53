/**
 * Lets writes of one key through one after another, so that writers of this process do not make each other's
 * compare-and-swap fail. Between processes the store decides.
 * Promise: bounded; a key nobody writes takes no memory; when the store gives one of them no answer, those that waited
 * behind it get the same answer, instead of waiting for the same deadline one after another.
 */
import { CodedError, isCodedError, messageOf } from "../../base/errors.ts";

export interface KeyQueue {
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

interface Line {
  last: Promise<unknown>;
  waiting: number;
  /** How often the store gave no answer, and what it said last. */
  silences: number;
  silence: unknown;
}

const WAITING_MAX = 256; // per key; more is a runaway client

export function openKeyQueue(): KeyQueue {
  const lines = new Map<string, Line>();
  return {
    async run(key, work) {
      const line = lines.get(key) ?? { last: Promise.resolve(), waiting: 0, silences: 0, silence: undefined };
      if (line.waiting >= WAITING_MAX) {
        throw new CodedError("STORE_UNAVAILABLE", { message: "too many writes of this record are waiting" });
      }
      lines.set(key, line);
      line.waiting++;
      const before = line.silences;
      const turn = line.last.then(() => {
        if (line.silences === before) return work();
        throw new CodedError("STORE_UNAVAILABLE", { message: messageOf(line.silence), cause: line.silence });
      });
      // The next in line waits for the end of this turn, however it ends.
      line.last = turn.catch((error: unknown) => {
        const isSilent = isCodedError(error, "STORE_UNAVAILABLE") || isCodedError(error, "STORE_OUTCOME_UNKNOWN");
        if (!isSilent || line.silences !== before) return;
        line.silences++;
        line.silence = error;
      });
      try {
        return await turn;
      } finally {
        line.waiting--;
        if (line.waiting === 0) lines.delete(key);
      }
    },
  };
}
