/**
 * Gateway nodes: the list of them, and what each says of itself, so that one address tells of the whole cluster.
 * A node's own status listener answers; @fastify/reply-from carries it. Promise: paths are fixed, the address is the
 * registered one, nothing of the caller goes along but its request id.
 */
import type { FastifyReplyFromHooks } from "@fastify/reply-from";
import { readNode } from "../../cluster/registry.ts";
import { errorAnswer, refuse } from "../admin-response.ts";
import { statusUrl } from "../ask-node.ts";
import { type Json, listOf, ref } from "../openapi/openapi-schemas.ts";
import { answer, readOperation } from "../openapi/operation.ts";
import { type AdminRoute, type Forward, get, refuseOthers } from "./admin-route.ts";

const NODE: Json = {
  type: "object",
  properties: {
    ...{ id: { type: "string" }, address: { type: "string" }, version: { type: "string" }, hash: { type: "string" } },
    ...{ started: { type: "integer" }, workers: { type: "integer" }, applied: { type: "integer" } },
    ...{ lag: { type: "integer" }, staleness_seconds: { type: "number" }, problems: { type: "integer" } },
  },
  required: ["id", "address", "version", "started", "applied", "lag", "problems", "hash"],
  additionalProperties: false,
};

/** What may be asked of a node, and where its status listener has it. */
const VIEWS = {
  config: ["nodeConfig", "Ask a node what it holds: revision, freshness, problems."],
  status: ["nodeStatus", "Ask a node for its version, workers, listeners and configuration."],
  metrics: ["nodeMetrics", "Ask a node for its metrics in Prometheus' text format."],
  healthcheck: ["nodeHealth", "Ask a node for the health of the upstream nodes that it checks."],
  problems: ["nodeProblems", "Ask a node for the records that it cannot use, and why."],
  issuers: ["nodeIssuers", "Ask a node for the keys of the issuers of tokens that it has."],
} as const;

const GONE = { "502": answer("The node does not answer.", ref("Error")), "504": answer("Not in time.", ref("Error")) };

function viewRoute(view: keyof typeof VIEWS): AdminRoute {
  const [operationId, summary] = VIEWS[view];
  const schema: Json = view === "healthcheck" ? { type: "array", items: { type: "object" } } : { type: "object" };
  const { responses, ...operation } = readOperation(operationId, summary, schema);
  const text = { "200": { description: "OK.", content: { "text/plain": { schema: { type: "string" } } } } };
  const forward: Forward = async (admin, { params }) => {
    const id = params["id"] ?? "";
    const node = await readNode(admin.store, admin.prefix, id);
    if (!node) return refuse(404, `no node ${id.slice(0, 64)} is registered: GET /apisix/admin/nodes lists them`);
    return (
      statusUrl(node.address, `/${view}`) ??
      refuse(
        502,
        `node ${id} registered ${node.address || "no address"}: set status.advertise on it to where the admin reaches it`,
      )
    );
  };
  return {
    ...get(
      `/nodes/:id/${view}`,
      { ...operation, responses: { ...(responses as Json), ...(view === "metrics" && text), ...GONE } },
      () => errorAnswer(undefined),
    ),
    forward,
  };
}

export const NODE_ROUTES: readonly AdminRoute[] = [
  get(
    "/nodes",
    readOperation(
      "listNodes",
      "List the gateway nodes that are registered, and how far each is.",
      listOf(NODE, { revision: { type: "integer" } }),
    ),
    (admin) => admin.nodes.answer(),
  ),
  ...(Object.keys(VIEWS) as (keyof typeof VIEWS)[]).map(viewRoute),
  ...refuseOthers("/nodes", "/nodes/*"),
];

/** How long a node may take to begin its answer. */
const NODE_MS = 5_000;

/** For reply-from: nothing of the caller, no second try, the admin's own words for what fails. */
export const TO_NODE: FastifyReplyFromHooks = {
  timeout: NODE_MS,
  queryString: () => "",
  retryDelay: () => null,
  rewriteRequestHeaders: (request, { host }) => {
    const id = request.headers["x-request-id"];
    return { host, ...(typeof id === "string" && { "x-request-id": id.slice(0, 128) }) };
  },
  rewriteHeaders: (headers, request) => {
    void request;
    return headers["content-type"] === undefined ? {} : { "content-type": headers["content-type"] };
  },
  onError: (reply, { error }) => {
    const late = "statusCode" in error && error.statusCode === 504;
    const text = late ? `the node did not answer within ${NODE_MS} ms` : "the node cannot be reached";
    void reply.code(late ? 504 : 502).send(Buffer.from(`${JSON.stringify({ error_msg: text })}\n`, "utf8"));
  },
};

/** Registration of reply-from in the admin's Fastify. */
export const NODE_CLIENT = {
  undici: { connections: 4, connectTimeout: 2_000, headersTimeout: NODE_MS, bodyTimeout: NODE_MS },
  disableRequestLogging: true,
  cacheURLs: 256,
} as const;
