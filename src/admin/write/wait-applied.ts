/**
 * The write barrier: lengthens the answer to a write until every live gateway node has applied it, or says who has not.
 * Promise: 2xx other than 202 only when all of them have taken it; what was written stays written in either case.
 * Source: docs/spec/etcd.md section 9.
 */
import { messageOf } from "../../base/errors.ts";
import type { Asking, BarrierAnswer } from "../../cluster/barrier.ts";
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";

/** @param write is not called when its wait can never be granted */
export async function writeAndWait(
  admin: AdminContext,
  request: AdminRequest,
  write: (request: AdminRequest) => Promise<AdminAnswer>,
): Promise<AdminAnswer> {
  const { wait, dryRun } = request.options;
  if (wait === undefined) return write(request);
  if (!admin.barrier) return refuse(400, "invalid argument wait: this admin node does not follow gateway nodes");
  if (dryRun) return write(request);
  const asking = admin.barrier.begin();
  const answer = await write({ ...request, ask: asking.ask });
  return waitUntilApplied(asking, wait.timeoutMs, answer);
}

async function waitUntilApplied(asking: Asking, timeoutMs: number, answer: AdminAnswer): Promise<AdminAnswer> {
  const { revision, asked = false } = answer;
  if (revision === undefined) return answer;
  const body = typeof answer.body === "object" ? answer.body : {};
  try {
    const applied = await asking.waitApplied(revision, asked, timeoutMs);
    const { waiting, left, refused } = applied;
    const members = { ...body, revision: Number(revision), applied: applied.applied, refused, waiting, left };
    if (waiting.length === 0 && left.length === 0 && refused.length === 0) return { ...answer, body: members };
    return { ...answer, status: 202, body: { ...members, message: reasonOf(applied) } };
  } catch (error) {
    const nobody = { applied: [], refused: [], waiting: [], left: [] };
    const message = `written; who has applied it is unknown: ${messageOf(error)}`;
    return { ...answer, status: 202, body: { ...body, revision: Number(revision), ...nobody, message } };
  }
}

function reasonOf({ waiting, left, refused }: BarrierAnswer): string {
  const parts: string[] = [];
  const refusing = new Set(refused.map(({ node }) => node)).size;
  if (refusing > 0) parts.push(`${refusing} nodes do not serve it as written, see refused`);
  if (waiting.length > 0) parts.push(`${waiting.length} nodes have not applied it in time`);
  if (left.length > 0) {
    parts.push(
      `${left.length} nodes lost their registration: gone, or cut off and serving what they had (for how long, max_stale decides)`,
    );
  }
  return `written; ${parts.join("; ")}`;
}
