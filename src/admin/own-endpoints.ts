/**
 * What our Admin API offers beside APISIX's resources: nodes, the store's identity.
 * docs/admin-api.md describes each; every one of them is behind the same key as all others.
 */
import { type AdminAnswer, refuse } from "./answer.ts";
import { waitRefusal, waitUntilApplied } from "./applied.ts";
import type { AdminRequest, Engine } from "./engine.ts";
import { describeStore, raiseStoreEpoch } from "./store-epoch.ts";
import { writeOptionsOf } from "./write-options.ts";

type Endpoint = (engine: Engine, request: AdminRequest) => Promise<AdminAnswer>;

const ENDPOINTS: Readonly<Record<string, Endpoint>> = {
  "GET nodes": (engine) => engine.nodes.answer(),
  "GET store": describeStore,
  "POST store/epoch": writing(raiseStoreEpoch),
};

const DIRS: ReadonlySet<string> = new Set(Object.keys(ENDPOINTS).map((name) => /^\w+ ([^/]+)/.exec(name)?.[1] ?? ""));

/** @returns undefined for paths that are none of ours */
export async function dispatchOwn(engine: Engine, request: AdminRequest): Promise<AdminAnswer | undefined> {
  if (!DIRS.has(request.segments[0] ?? "")) return undefined;
  const name = `${request.method} ${request.segments.join("/")}`;
  const endpoint = Object.hasOwn(ENDPOINTS, name) ? ENDPOINTS[name] : undefined;
  return endpoint ? endpoint(engine, request) : refuse(404, "not found");
}

/** An endpoint that changes the configuration, so that its writer may wait for all nodes. */
function writing(endpoint: Endpoint): Endpoint {
  return async (engine, request) => {
    const options = writeOptionsOf(request.args, request.header);
    if ("status" in options) return options;
    const asked = { ...request, options };
    return waitRefusal(engine, options) ?? waitUntilApplied(engine, options, await endpoint(engine, asked));
  };
}
