/**
 * Revokes single tokens from a gateway node (RFC 7009): immutable batches in the store, what comes within 5 ms together,
 * one transaction at a time.
 * Promise: what is answered for is in the store and applied here; writing the same again does no harm, so that a lost
 * answer may be repeated; what waits is bounded. The only directory of the configuration that gateways write.
 */
import { randomBytes } from "node:crypto";
import { type Clock, sleep } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import type { Fingerprint } from "../../base/jose/token.ts";
import { encodeBatch, hourDir, hourOf, type RevokedToken } from "../../model/revocation.ts";
import type { Store } from "../../store/store.ts";

interface TokenEndings {
  /** @throws CodedError STORE_* */
  end(token: Fingerprint, expires: number): Promise<void>;
}

interface EndingsOptions {
  readonly prefix: string;
  readonly clock: Clock;
  /** Asked for at the first need. */
  readonly store: () => Store;
  /** Most tokens that may be revoked by themselves, and how many are. */
  readonly most: number;
  count(): number;
  /** What was written is in the store. */
  written(key: string, batch: Buffer): void;
  /** Each transaction's outcome; undefined: it was done. */
  settled(error: unknown): void;
}

interface Job extends RevokedToken {
  readonly hour: number;
  done(): void;
  failed(error: unknown): void;
}

const JOIN_MS = 5;
const BATCH_ENTRIES = 3_000;
/** Of one transaction: etcd takes 128. */
const BATCHES = 100;
const WAITING_MAX = 10_000;

export function openTokenEndings(options: EndingsOptions): TokenEndings {
  const { prefix, clock } = options;
  const writer = randomBytes(4).toString("hex");
  const waiting: Job[] = [];
  let isWriting = false;
  let numbers = 0;

  const write = async (jobs: readonly Job[]): Promise<void> => {
    const operations = [...new Set(jobs.map(({ hour }) => hour))].map((hour) => {
      const tokens = jobs.filter((job) => job.hour === hour);
      const key = `${hourDir(prefix, hour)}${writer}-${++numbers}-${tokens.length}`;
      return { op: "put", key, value: encodeBatch(tokens, clock.nowMs()) } as const;
    });
    const compare = operations.map(({ key }) => ({ key, target: "createRevision", is: "==", value: 0n }) as const);
    const { succeeded } = await options.store().txn({ compare, then: operations });
    if (!succeeded) throw new CodedError("STORE_UNAVAILABLE", { message: "another has written under these names" });
    for (const { key, value } of operations) options.written(key, value);
  };
  const writeAll = async (): Promise<void> => {
    isWriting = true;
    while (waiting.length > 0) {
      await sleep(clock, JOIN_MS);
      const jobs = taken(waiting);
      try {
        await write(jobs);
        options.settled(undefined);
        for (const { done } of jobs) done();
      } catch (error) {
        options.settled(error);
        for (const { failed } of jobs) failed(error);
      }
    }
    isWriting = false;
  };

  return {
    end(fingerprint, expires) {
      if (options.count() >= options.most)
        return Promise.reject(new CodedError("STORE_FULL", { message: `${options.most} tokens are revoked already` }));
      if (waiting.length >= WAITING_MAX)
        return Promise.reject(new CodedError("STORE_UNAVAILABLE", { message: "too many revocations are under way" }));
      return new Promise((done, failed) => {
        waiting.push({ fingerprint, hour: hourOf(expires), until: Math.ceil(expires), done, failed });
        if (!isWriting) void writeAll();
      });
    },
  };
}

/** As many as one transaction takes. */
function taken(waiting: Job[]): readonly Job[] {
  const hours = new Set<number>();
  let count = 0;
  for (const { hour } of waiting) {
    hours.add(hour);
    if (hours.size > BATCHES || count >= BATCH_ENTRIES) break;
    count++;
  }
  return waiting.splice(0, count);
}
