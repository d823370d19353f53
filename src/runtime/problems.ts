/**
 * What is wrong with records that are in the store: listed until repaired, logged once, never fatal.
 * Promise: a reason names records and plugins, never values.
 */
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { hideSecrets } from "../model/secret-names.ts";

export interface Problem {
  /** Store key of the record. */
  readonly key: string;
  /** Revision of the record when the problem was seen. */
  readonly revision: bigint;
  readonly reason: string;
  /** Requests in its scope are answered 503 because of it. */
  readonly blocks: boolean;
}

/** One record may have several problems; each topic has one. "record": the newest value was refused. */
type ProblemTopic =
  | "record"
  | "upstream"
  | "client certificate"
  | "signing key"
  | "revocation"
  | "once"
  | `duplicate ${string}`
  | `repeated ${string}`
  | `secret ${string}`
  | `missing ${string}`
  | `plugin ${string}`;

export interface Problems {
  readonly count: number;
  /** In order of their keys. */
  list(): readonly Problem[];
  /** The newest ones by which a record was not taken, or refuses requests; mended ones too. */
  refusals(): readonly Problem[];
  /**
   * @param reason a function where it may change without a change of this record
   * @param blocks default: false
   */
  set(key: string, topic: ProblemTopic, revision: bigint, reason: string | (() => string), blocks?: boolean): void;
  clear(key: string, topic: ProblemTopic): void;
  /** Forgets all problems of a record, but for one topic. */
  clearAll(key: string, except?: ProblemTopic): void;
}

const REASON_LENGTH_MAX = 500; // a schema error quotes what it found
const LOG_LINES_PER_MINUTE = 60;
/** What is told to those who wait for a write; whoever waits does so for seconds. */
export const REFUSALS_MAX = 64;

/** A reason as it may be shown: no secret, no endless quotation. */
export function shownReason(reason: string): string {
  return hideSecrets(reason.slice(0, REASON_LENGTH_MAX), "********");
}

export function openProblems(log: Log, clock: Clock): Problems {
  const byKey = new Map<string, Map<ProblemTopic, Problem>>();
  const refusals: Problem[] = [];
  let count = 0;
  let minute = Number.NEGATIVE_INFINITY;
  let lines = 0;

  const say = (problem: Problem): void => {
    const now = clock.monotonicMs();
    if (now - minute >= 60_000) {
      minute = now;
      lines = 0;
    }
    lines++;
    const { key, reason } = problem;
    if (lines < LOG_LINES_PER_MINUTE) log.warn({ key, revision: problem.revision.toString(), reason }, "bad record");
    else if (lines === LOG_LINES_PER_MINUTE) log.warn({}, "more bad records follow; all are listed with the status");
  };

  const clear: Problems["clear"] = (key, topic) => {
    const topics = byKey.get(key);
    if (!topics?.delete(topic)) return;
    count--;
    if (topics.size === 0) byKey.delete(key);
  };

  return {
    get count() {
      return count;
    },
    refusals: () => refusals,
    list: () => [...byKey.keys()].sort().flatMap((key) => [...(byKey.get(key)?.values() ?? [])]),
    set(key, topic, revision, reason, blocks = false) {
      const problem =
        typeof reason === "string"
          ? { key, revision, reason: shownReason(reason), blocks }
          : {
              key,
              revision,
              get reason() {
                return shownReason(reason());
              },
              blocks,
            };
      if (blocks || topic === "record" || topic === "upstream" || topic === "client certificate") {
        if (refusals.length >= REFUSALS_MAX) refusals.shift();
        refusals.push(problem);
      }
      const topics = byKey.get(key) ?? new Map<ProblemTopic, Problem>();
      byKey.set(key, topics);
      const before = topics.get(topic);
      if (!before) count++;
      topics.set(topic, problem);
      if (before?.reason !== problem.reason || before.revision !== revision) say(problem);
    },
    clear,
    clearAll(key, except) {
      const topics = byKey.get(key);
      if (topics) for (const topic of [...topics.keys()]) if (topic !== except) clear(key, topic);
    },
  };
}
