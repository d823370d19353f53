/**
 * `GET /nodes`: the gateway nodes that are registered, and how far each of them is.
 * Promise: how far a node is, is asked now and not read from what it once reported; asked at most once a second, however
 * many clients poll.
 * Source: docs/spec/etcd.md section 9.
 */
import type { Clock } from "../base/clock.ts";
import type { Barrier } from "../cluster/barrier.ts";
import { listNodes, type RegisteredNode } from "../cluster/registry.ts";
import type { Revision, Store } from "../store/store.ts";
import type { AdminAnswer } from "./admin-response.ts";

export interface NodeList {
  answer(): Promise<AdminAnswer>;
}

const KEPT_MS = 1_000;
/** How long a node may take to be seen as up to date. */
const LOOK_MS = 500;

export function openNodeList(store: Store, prefix: string, clock: Clock, barrier: Barrier | undefined): NodeList {
  let kept: { readonly answer: Promise<AdminAnswer>; readonly untilMs: number } | undefined;

  async function look(): Promise<AdminAnswer> {
    const asked = await barrier?.waitNewest(LOOK_MS);
    const { nodes, revision } = await listNodes(store, prefix);
    const newest = asked?.revision ?? revision;
    const list = nodes.map((node) => entryOf(node, newest, barrier?.acknowledged(node.id)));
    return { status: 200, body: { list, total: list.length, revision: Number(newest) } };
  }

  return {
    answer() {
      const now = clock.monotonicMs();
      if (kept && kept.untilMs > now) return kept.answer;
      const answer = look();
      const mine = { answer, untilMs: now + KEPT_MS };
      kept = mine;
      answer.catch(() => {
        if (kept === mine) kept = undefined; // a store that comes back is seen at once
      });
      return answer;
    },
  };
}

function entryOf(node: RegisteredNode, newest: Revision, acknowledged: ReturnType<Barrier["acknowledged"]>): object {
  const reported = /^\d{1,19}$/.test(node.applied) ? BigInt(node.applied) : 0n;
  // Revision and hash come from the same word of the node.
  const isNewer = acknowledged !== undefined && acknowledged.at > reported;
  const applied = isNewer ? acknowledged.at : reported;
  return {
    id: node.id,
    address: node.address,
    version: node.version,
    started: Math.floor(node.startedMs / 1_000),
    workers: node.workers,
    applied: Number(applied),
    lag: applied >= newest ? 0 : Number(newest - applied),
    staleness_seconds: node.stalenessSeconds,
    problems: node.problems,
    hash: (isNewer && acknowledged.hash) || node.hash,
  };
}
