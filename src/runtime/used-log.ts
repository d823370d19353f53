/**
 * The uses that were noted in this process, until they are taken: each name once, bounded by what there is to use.
 */
import type { Clock } from "../base/clock.ts";
import { credentialId } from "../model/keys.ts";
import { HOUR_SECONDS, type Use } from "../model/usage.ts";
import { NO_USES, type Used, type Uses } from "../plugin/uses.ts";

/** Longer names of keys are not kept. */
const KID_MAX = 256;
const LOOK_EVERY_MS = 5_000;

export interface UsedLog extends Uses {
  /** What was noted since it was asked last. @param most the rest comes next time */
  take(most: number): readonly Use[];
  close(): void;
}

export const NO_USED_LOG: UsedLog = Object.freeze({ ...NO_USES, take: () => [], close: () => undefined });

/** @param createdOf create revision of a consumer's or credential's record; undefined: it is gone */
export function openUsedLog(
  clock: Clock,
  createdOf: (consumer: string, credentialId: string | undefined) => number | undefined,
): UsedLog {
  const hourNow = (): number => Math.floor(clock.nowMs() / (HOUR_SECONDS * 1_000));
  let hour = hourNow();
  const noted = new Map<string, Use>();
  const note = (name: string, created: number): void => void noted.set(name, { name, created, hour });
  const turning = clock.every(LOOK_EVERY_MS, () => {
    hour = hourNow();
  });
  const mark = (used: Partial<Used>): void => {
    used.usedIn = hour;
  };
  return {
    get hour() {
      return hour;
    },
    caller(used, consumer, id) {
      // Of a consumer with several credentials its own mark says nothing about which.
      if (used !== consumer || id === undefined) mark(used);
      const created = createdOf(consumer.username, id);
      const tail = id === undefined ? consumer.username : credentialId(consumer.username, id);
      if (created !== undefined) note(`consumers/${tail}`, created);
    },
    key({ kind, id }, key) {
      mark(key);
      note(`${kind}s/${id}`, 0);
      if (key.kid !== undefined && key.kid.length <= KID_MAX) note(`${kind}s/${id}/kids/${key.kid}`, 0);
    },
    take(most) {
      const taken: Use[] = [];
      for (const [name, use] of noted) {
        if (taken.length === most) break;
        taken.push(use);
        noted.delete(name);
      }
      return taken;
    },
    close: () => turning.cancel(),
  };
}
