/**
 * What our Admin API offers beside APISIX's resources: nodes, the store's identity, the history of writes, encryption.
 * docs/admin-api.md describes each; every one of them is behind the same key as all others.
 */

import type { AdminRequest, Engine } from "./admin-context.ts";
import { type AdminAnswer, refuse } from "./admin-response.ts";
import { getHistoryEntry, listHistory } from "./history/history-read.ts";
import { rollBack } from "./history/rollback.ts";
import { describeApi } from "./openapi/openapi.ts";
import { resealAll } from "./sealing/reseal.ts";
import { describeStore, raiseStoreEpoch } from "./store-epoch.ts";
import { writeAndWait } from "./write/wait-applied.ts";
import { writeOptionsOf } from "./write/write-options.ts";

type Endpoint = (engine: Engine, request: AdminRequest) => Promise<AdminAnswer>;

/** Methods and paths; `*` is any one segment. */
const ENDPOINTS: readonly (readonly [method: string, path: string, Endpoint])[] = [
  ["GET", "nodes", (engine) => engine.nodes.answer()],
  ["GET", "store", describeStore],
  ["POST", "store/epoch", writing(raiseStoreEpoch)],
  ["GET", "openapi.json", describeApi],
  ["GET", "history", listHistory],
  ["GET", "history/*", getHistoryEntry],
  ["POST", "history/*/rollback", writing(rollBack)],
  ["POST", "encryption/reseal", writing(resealAll)],
];

const DIRS: ReadonlySet<string> = new Set(ENDPOINTS.map(([, path]) => path.split("/")[0] ?? ""));

/** @returns undefined for paths that are none of ours */
export async function dispatchOwn(engine: Engine, request: AdminRequest): Promise<AdminAnswer | undefined> {
  const { method, segments } = request;
  if (!DIRS.has(segments[0] ?? "")) return undefined;
  const endpoint = ENDPOINTS.find(([wanted, path]) => wanted === method && fits(segments, path.split("/")))?.[2];
  return endpoint ? endpoint(engine, request) : refuse(404, "not found");
}

function fits(segments: readonly string[], pattern: readonly string[]): boolean {
  return segments.length === pattern.length && pattern.every((part, at) => part === "*" || part === segments[at]);
}

/** An endpoint that changes the configuration, so that its writer may wait for all nodes. */
function writing(endpoint: Endpoint): Endpoint {
  return async (engine, request) => {
    const options = writeOptionsOf(request.args, request.header);
    if ("status" in options) return options;
    return writeAndWait(engine, { ...request, options }, (asked) => endpoint(engine, asked));
  };
}
