/**
 * The write barrier: lengthens the answer to a write until every live gateway node has applied it, or says who has not.
 * Promise: 2xx other than 202 only when all of them have; what was written stays written in either case.
 * Source: etcd.md section 9.
 */
import { messageOf } from "../base/errors.ts";
import type { BarrierAnswer } from "../cluster/barrier.ts";
import { type AdminAnswer, refuse } from "./answer.ts";
import type { Engine } from "./engine.ts";
import type { WriteOptions } from "./write-options.ts";

/** Refuses a wait that can never be granted, before anything is written. */
export function waitRefusal(engine: Engine, options: WriteOptions): AdminAnswer | undefined {
  if (options.wait === undefined || engine.barrier) return undefined;
  return refuse(400, "invalid argument wait: this admin node does not follow gateway nodes");
}

export async function waitUntilApplied(
  engine: Engine,
  options: WriteOptions,
  answer: AdminAnswer,
): Promise<AdminAnswer> {
  const { revision } = answer;
  if (options.wait === undefined || revision === undefined || !engine.barrier) return answer;
  const body = typeof answer.body === "object" ? answer.body : {};
  try {
    const applied = await engine.barrier.waitApplied(revision, options.wait.timeoutMs);
    const { waiting, left } = applied;
    const members = { ...body, revision: Number(revision), applied: applied.applied, waiting, left };
    if (waiting.length === 0 && left.length === 0) return { ...answer, body: members };
    return { ...answer, status: 202, body: { ...members, message: reasonOf(applied) } };
  } catch (error) {
    const nobody = { applied: [], waiting: [], left: [] };
    const message = `written; who has applied it is unknown: ${messageOf(error)}`;
    return { ...answer, status: 202, body: { ...body, revision: Number(revision), ...nobody, message } };
  }
}

function reasonOf({ waiting, left }: BarrierAnswer): string {
  const parts: string[] = [];
  if (waiting.length > 0) parts.push(`${waiting.length} nodes have not applied it in time`);
  if (left.length > 0) {
    parts.push(
      `${left.length} nodes lost their registration: gone, or cut off and serving what they had (for how long, max_stale decides)`,
    );
  }
  return `written; ${parts.join("; ")}`;
}
