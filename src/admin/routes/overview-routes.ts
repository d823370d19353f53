/**
 * The cluster as a whole, for those who watch it: who asks, the last hour in numbers, problems of all nodes. docs/admin-api.md.
 */
import { readVersion } from "../../settings/instance.ts";
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import type { AdminAnswer } from "../admin-response.ts";
import { askAll } from "../ask-node.ts";
import { type Json, listOf } from "../openapi/openapi-schemas.ts";
import { readOperation } from "../openapi/operation.ts";
import { type AdminRoute, get, refuseOthers } from "./admin-route.ts";

const TEXT: Json = { type: "string" };
const TEXTS: Json = { type: "array", items: TEXT };
const NUMBER: Json = { type: "number" };
const INTEGER: Json = { type: "integer" };
const SECONDS: Json = { type: ["number", "null"], description: "Seconds; null: no request was answered." };
const RATES: Json = { type: "object", additionalProperties: NUMBER, description: "Per second." };

const object = (properties: Json): Json => ({
  ...{ type: "object", properties, required: Object.keys(properties), additionalProperties: false },
});
const array = (items: Json): Json => ({ type: "array", items });

const WHO = object({ name: TEXT, role: { enum: ["admin", "viewer"] }, version: TEXT, prefix: TEXT });

const OVERVIEW = object({
  points: {
    ...array(
      object({
        time: INTEGER,
        requests: NUMBER,
        failed: NUMBER,
        refused: NUMBER,
        reasons: RATES,
        p50: SECONDS,
        p99: SECONDS,
      }),
    ),
    description:
      "The last hour, a point about every five seconds; collected while somebody looks and for an hour after.",
  },
  requests: { ...RATES, description: "Per second, by class of status." },
  refused: { ...RATES, description: "Per second, by reason." },
  tokens: { ...RATES, description: "Per second, by plugin and outcome." },
  nodes: { ...RATES, description: "Requests per second, by node." },
  unhealthy: array(object({ record: TEXT, target: TEXT, status: TEXT, nodes: TEXTS })),
  expiring: {
    ...array(object({ key: TEXT, names: TEXTS, ends: INTEGER })),
    description: "Certificates that end within 30 days.",
  },
  keys: {
    ...array(object({ server: TEXT, algorithm: TEXT, ends: INTEGER })),
    description: "Signing keys that end within 30 days and that no other follows, by authorization server.",
  },
  silent: { ...TEXTS, description: "Nodes that did not answer." },
});

const PROBLEM: Json = {
  type: "object",
  properties: {
    ...{ key: TEXT, kind: TEXT, reason: TEXT, revision: INTEGER, blocks: { type: "boolean" }, nodes: TEXTS },
  },
  required: ["key", "kind", "reason", "revision", "blocks", "nodes"],
  additionalProperties: false,
};

function whoAsks({ prefix }: AdminContext, { actor }: AdminRequest): AdminAnswer {
  return { status: 200, body: { name: actor.name, role: actor.role, version: readVersion(), prefix } };
}

async function overview({ pulse, expiring }: AdminContext): Promise<AdminAnswer> {
  const [{ nodes, ...seen }, soon] = await Promise.all([pulse.read(), expiring()]);
  return {
    status: 200,
    body: { ...seen, nodes: Object.fromEntries(nodes), expiring: soon.certificates, keys: soon.keys },
  };
}

interface Problem {
  readonly key: string;
  readonly kind: string;
  readonly reason: string;
  readonly revision: number;
  readonly blocks: boolean;
}

/** One entry for what several nodes say in the same words. */
async function problemsOfAll(admin: AdminContext): Promise<AdminAnswer> {
  const all = await askAll(admin, { path: "/problems" });
  const silent = all.filter(({ answer: { status } }) => status !== 200).map(({ id }) => id);
  const found = new Map<string, Problem & { readonly nodes: string[] }>();
  for (const { id, answer } of all) {
    if (answer.status !== 200) continue;
    for (const one of (answer.body as { readonly list: readonly Problem[] }).list) {
      const same = `${one.key}\n${one.revision}\n${one.reason}`;
      const known = found.get(same);
      if (known) known.nodes.push(id);
      else found.set(same, { ...one, nodes: [id] });
    }
  }
  const list = [...found.values()].sort((a, b) => Number(b.blocks) - Number(a.blocks) || (a.key < b.key ? -1 : 1));
  return { status: 200, body: { list, total: list.length, silent } };
}

export const OVERVIEW_ROUTES: readonly AdminRoute[] = [
  get("/whoami", readOperation("whoAmI", "Say whose key this is and what it may.", WHO), whoAsks),
  get("/overview", readOperation("getOverview", "Read the last hour of the cluster in numbers.", OVERVIEW), overview),
  get(
    "/problems",
    readOperation(
      "listProblems",
      "List the records that gateway nodes cannot use, and which nodes say so.",
      listOf(PROBLEM, { silent: TEXTS }),
    ),
    problemsOfAll,
  ),
  ...refuseOthers("/whoami", "/whoami/*", "/overview", "/overview/*", "/problems", "/problems/*"),
];
