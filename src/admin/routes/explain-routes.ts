/**
 * Why a call is or was refused: explanations by a node's own code, and the last refusals of nodes. docs/explain.md.
 */
import { readExplainQuery } from "../../model/explain-query.ts";
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { askAll, askAny, askNode } from "../ask-node.ts";
import { type Json, listOf, ref } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, json, query, readOperation } from "../openapi/operation.ts";
import { type AdminRoute, get, refuseOthers } from "./admin-route.ts";

const TEXT: Json = { type: "string" };
const LIST: Json = { type: "array", items: { type: "object" } };
const QUESTION: Json = {
  type: "object",
  properties: {
    token: TEXT,
    route: TEXT,
    request: {
      type: "object",
      properties: {
        ...{ method: TEXT, host: TEXT, uri: TEXT, scheme: { enum: ["http", "https"] }, client: TEXT },
        headers: { type: "object", additionalProperties: { type: ["string", "array"], items: TEXT } },
      },
      required: ["uri"],
      additionalProperties: false,
    },
    at: { type: "number", description: "Seconds since 1970; default: now." },
    node: TEXT,
  },
  additionalProperties: false,
};
const EXPLAINED: Json = {
  type: "object",
  properties: {
    verdict: { enum: ["forwarded", "answered", "refused", "unknown"] },
    ...{ status: { type: "integer" }, reason: TEXT, plugin: TEXT, from: TEXT, answer: { type: "object" } },
    ...{ route: TEXT, service: TEXT, consumer: TEXT, consumer_group: TEXT, credential: TEXT, node: TEXT },
    ...{ matched: { type: "object" }, upstream: { type: "object" }, revision: { type: "integer" }, detail: TEXT },
    ...{ near: LIST, plugins: LIST, steps: LIST, hints: { type: "array", items: TEXT } },
    nodes_behind: { type: "array", items: TEXT },
  },
  required: ["verdict", "node", "nodes_behind"],
  additionalProperties: false,
};
const REFUSED: Json = {
  type: "object",
  properties: {
    ...{ time: { type: "number" }, request_id: TEXT, client: TEXT, method: TEXT, route: TEXT },
    ...{ status: { type: "integer" }, reason: TEXT, plugin: TEXT, consumer: TEXT, credential: TEXT },
    ...{ issuer: TEXT, kid: TEXT, detail: TEXT, node: TEXT },
  },
  required: ["time", "client", "status", "reason"],
  additionalProperties: false,
};
const FILTERS = [
  query("request_id", "Of one call: the id that plugin request-id gave it."),
  query("consumer", "Of one consumer."),
  query("reason", "For one reason."),
];
const GONE = {
  "502": answer("The node does not answer.", ref("Error")),
  "504": answer("Not in time.", ref("Error")),
};
const REFUSALS_MAX = 1_000;

async function explain(admin: AdminContext, { body }: AdminRequest): Promise<AdminAnswer> {
  const given = body?.value;
  const asked = readExplainQuery(given);
  if (typeof asked === "string") return refuse(400, asked);
  // The node reads it again: it is passed on as it came, and to whom is nobody else's business.
  const { node, ...question } = given as Readonly<Record<string, unknown>>; // true: it was read
  const to = { path: "/explain", body: question };
  const answered = await (typeof node === "string" ? askNode(admin, node, to) : askAny(admin, to));
  if (answered.status !== 200) return answered;
  const shown = answered.body as Readonly<Record<string, unknown>>;
  return { status: 200, body: { ...shown, nodes_behind: await nodesBehind(admin, Number(shown["revision"])) } };
}

/** Nodes that would answer by an older configuration. */
async function nodesBehind(admin: AdminContext, revision: number): Promise<readonly string[]> {
  const { body } = await admin.nodes.answer();
  const { list } = body as { readonly list: readonly { readonly id: string; readonly applied: number }[] };
  return list.filter(({ applied }) => applied < revision).map(({ id }) => id);
}

function queryOf({ args }: AdminRequest): string {
  return args.size === 0 ? "/refusals" : `/refusals?${new URLSearchParams([...args])}`;
}

async function refusalsOfAll(admin: AdminContext, request: AdminRequest): Promise<AdminAnswer> {
  const all = await askAll(admin, { path: queryOf(request) });
  const wrong = all.find(({ answer: { status } }) => status === 400);
  if (wrong) return wrong.answer;
  const good = all.filter(({ answer: { status } }) => status === 200);
  const list = good.flatMap(({ id, answer: { body } }) =>
    (body as { readonly list: readonly { readonly time: number }[] }).list.map((one) => ({ ...one, node: id })),
  );
  list.sort((a, b) => b.time - a.time);
  const silent = all.filter((one) => !good.includes(one)).map(({ id }) => id);
  return { status: 200, body: { list: list.slice(0, REFUSALS_MAX), total: list.length, silent } };
}

function withResponses(operation: Json, responses: Json): Json {
  return { ...operation, responses: { ...(operation["responses"] as Json), ...responses } };
}

export const EXPLAIN_ROUTES: readonly AdminRoute[] = [
  {
    ...{ method: "POST", url: "/explain", reads: "json", maxBytes: 262_144, endpoint: explain },
    operation: withResponses(
      actOperation(
        "explain",
        "Says what a gateway node would do with a request or a token.",
        answer("What a node would do.", EXPLAINED),
        {
          requestBody: { required: true, ...json(QUESTION) },
        },
      ),
      {
        ...GONE,
        "404": answer("There is no such node.", ref("Error")),
        "503": answer("There is no node.", ref("Error")),
      },
    ),
  },
  get(
    "/refusals",
    readOperation(
      "listRefusals",
      "Lists the calls that nodes refused last.",
      listOf(REFUSED, { silent: { type: "array", items: TEXT } }),
      FILTERS,
    ),
    refusalsOfAll,
  ),
  get(
    "/nodes/:id/refusals",
    withResponses(
      readOperation("nodeRefusals", "Lists the calls that one node refused last.", listOf(REFUSED), FILTERS),
      {
        ...GONE,
        "404": answer("There is no such node.", ref("Error")),
      },
    ),
    (admin, request) => askNode(admin, request.params["id"] ?? "", { path: queryOf(request) }),
  ),
  ...refuseOthers("/explain", "/explain/*", "/refusals", "/refusals/*"),
];
