/**
 * When credentials, and keys of issuers, were used last: docs/usage.md.
 */
import { type Json, LAST_USE, listOf } from "../openapi/openapi-schemas.ts";
import { query, readOperation } from "../openapi/operation.ts";
import { listUsage } from "../usage/usage-read.ts";
import { type AdminRoute, get, refuseOthers } from "./admin-route.ts";

const ROW: Json = {
  type: "object",
  properties: {
    ...{ consumer: { type: "string" }, credential: { type: "string" } },
    ...{ issuer: { type: "string" }, authorization_server: { type: "string" }, kid: { type: "string" }, ...LAST_USE },
  },
  required: ["last_used", "nodes"],
  additionalProperties: false,
};

export const USAGE_ROUTES: readonly AdminRoute[] = [
  get(
    "/usage",
    readOperation(
      "listUsage",
      "Say when consumers, credentials, issuers and their keys were used last, the longest unused first.",
      listOf(ROW, { resolution: { type: "integer" }, recorded_since: { type: ["integer", "null"] } }),
      [
        query("unused_since", "Only what was not used for so long, such as 12h or 30d."),
        ...["consumer", "credential", "issuer", "kid"].map((name) => query(name, `Only of this ${name}.`)),
        query("page", "Counted from 1.", { type: "integer" }),
        query("page_size", "At most 500; default 100.", { type: "integer" }),
      ],
    ),
    listUsage,
  ),
  ...refuseOthers("/usage", "/usage/*"),
];
