/**
 * The facts of a worker's configuration on their way to the primary, and what they say of the node as a whole.
 * Promise: a node is as far as its worker furthest behind, and as sound as its worst.
 */
import type { ConfigStatus, RecordProblem } from "../../status/status-facts.ts";
import { PROBLEMS_MAX, type WireStatus } from "./protocol.ts";

/** @param lastProblems what was sent last; an unchanged list is not sent again */
export function writeFacts(facts: ConfigStatus, lastProblems: string): { readonly wire: WireStatus; problems: string } {
  const { appliedRevision, storeHeadRevision, problem, beat, changedAtMs, epochs, lists, ...same } = facts;
  const { length } = facts.problems;
  // Where not all can be sent, those go first that refuse requests.
  const ordered = length <= PROBLEMS_MAX ? facts.problems : [...facts.problems].sort(blockingFirst);
  const problems = ordered
    .slice(0, PROBLEMS_MAX)
    .map(({ revision, ...same }) => ({ ...same, revision: String(revision) }));
  const text = JSON.stringify(problems);
  const wire: WireStatus = {
    ...same,
    applied: String(appliedRevision),
    head: String(storeHeadRevision),
    problem: problem ?? null,
    beat: beat ?? null,
    changedAtMs: changedAtMs ?? null,
    epochs: { ...epochs },
    lists: { ...lists },
    problems: text === lastProblems ? null : problems,
  };
  return { wire, problems: text };
}

function blockingFirst(one: RecordProblem, other: RecordProblem): number {
  return Number(other.blocks) - Number(one.blocks);
}

/** @param before the facts this worker sent last */
export function readFacts(wire: WireStatus, before: ConfigStatus | undefined): ConfigStatus {
  const { applied, head, problem, beat, changedAtMs, problems, ...same } = wire;
  return {
    ...same,
    appliedRevision: BigInt(applied),
    storeHeadRevision: BigInt(head),
    problem: problem ?? undefined,
    beat: beat ?? undefined,
    changedAtMs: changedAtMs ?? undefined,
    problems: problems?.map((one) => ({ ...one, revision: BigInt(one.revision) })) ?? before?.problems ?? [],
  };
}

/** Facts of one worker, and what it has applied since it sent them. */
export interface WorkerConfig {
  readonly facts: ConfigStatus;
  readonly applied: bigint;
  /** Since the facts were heard. */
  readonly silentSeconds: number;
}

/** What was counted by workers that are gone. */
export type Tally = Pick<ConfigStatus, "epochs" | "lists" | "auditDifferences">;

export const NO_TALLY: Tally = Object.freeze({ epochs: {}, lists: {}, auditDifferences: 0 });

export function addTally(one: Tally, other: Tally): Tally {
  return {
    epochs: addNumbers(one.epochs, other.epochs),
    lists: addNumbers(one.lists, other.lists),
    auditDifferences: one.auditDifferences + other.auditDifferences,
  };
}

/** @param workers at least one */
export function mergeConfigs(workers: readonly WorkerConfig[], past: Tally): ConfigStatus | undefined {
  const [first, ...others] = workers;
  if (!first) return undefined;
  const behind = others.reduce((worst, worker) => (isBehind(worker, worst) ? worker : worst), first);
  const all = (holds: (facts: ConfigStatus) => boolean): boolean => workers.every(({ facts }) => holds(facts));
  return {
    ...behind.facts,
    ...workers.reduce((sum, { facts }) => addTally(sum, facts), past),
    appliedRevision: behind.applied,
    storeHeadRevision: workers.reduce((head, { facts }) => max(head, facts.storeHeadRevision), behind.applied),
    loaded: all((facts) => facts.loaded),
    connected: all((facts) => facts.connected),
    fresh: all((facts) => facts.fresh),
    reachable: all((facts) => facts.reachable),
    stalenessSeconds: Math.max(...workers.map(({ facts, silentSeconds }) => facts.stalenessSeconds + silentSeconds)),
    problem: behind.facts.problem ?? workers.find(({ facts }) => facts.problem !== undefined)?.facts.problem,
    problems: mergeProblems(workers.map(({ facts }) => facts.problems)),
  };
}

function isBehind(one: WorkerConfig, other: WorkerConfig): boolean {
  return one.facts.loaded === other.facts.loaded ? one.applied < other.applied : !one.facts.loaded;
}

/** Some problems show only where a request came by. */
function mergeProblems(lists: readonly (readonly RecordProblem[])[]): readonly RecordProblem[] {
  const known = new Map<string, RecordProblem>();
  for (const problem of lists.flat()) {
    // Of certificates each worker says the revision at which it read them.
    const id = `${problem.key} ${problem.reason}`;
    const before = known.get(id);
    if (before === undefined || before.revision < problem.revision) known.set(id, problem);
  }
  return [...known.values()].sort((one, other) => (one.key < other.key ? -1 : Number(one.key > other.key)));
}

function addNumbers(
  one: Readonly<Record<string, number>>,
  other: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const sum = { ...one };
  for (const [name, value] of Object.entries(other)) sum[name] = (sum[name] ?? 0) + value;
  return sum;
}

function max(one: bigint, other: bigint): bigint {
  return one > other ? one : other;
}
