/**
 * What stands beside the records of issuers: their keys as nodes have them, and having them fetched now.
 */
import { KINDS } from "../../model/kinds.ts";
import { issuerStatus } from "../issuers/issuer-status.ts";
import { refreshIssuer } from "../issuers/refresh-issuer.ts";
import { APPLIED, type Json } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, readOperation, WRITE_PARAMETERS } from "../openapi/operation.ts";
import { type AdminRoute, act, get, refuseOthers } from "./admin-route.ts";

const NULLABLE_TEXT: Json = { type: ["string", "null"] };
const STATUS: Json = {
  type: "object",
  properties: {
    kids: {
      type: "array",
      items: {
        type: "object",
        properties: {
          kid: NULLABLE_TEXT,
          kty: { type: "string" },
          algorithms: { type: "array", items: { type: "string" } },
        },
        required: ["kid", "kty", "algorithms"],
        additionalProperties: false,
      },
    },
    skipped: {
      type: "array",
      items: {
        type: "object",
        properties: { kid: NULLABLE_TEXT, why: { type: "string" } },
        required: ["kid", "why"],
        additionalProperties: false,
      },
    },
    ...{ fetched_at: { type: ["integer", "null"] }, source: NULLABLE_TEXT, by: NULLABLE_TEXT },
    nodes: {
      type: "array",
      items: {
        type: "object",
        properties: { id: { type: "string" }, age: { type: ["integer", "null"] }, problem: NULLABLE_TEXT },
        required: ["id", "age", "problem"],
        additionalProperties: false,
      },
    },
  },
  required: ["kids", "skipped", "fetched_at", "source", "by", "nodes"],
  additionalProperties: false,
};
const REFRESHED: Json = {
  type: "object",
  properties: { key: { type: "string" }, dry_run: { const: true }, ...APPLIED },
  required: ["key"],
  additionalProperties: false,
};
const ONE = `/${KINDS.token_issuer.dir}/:id`;

const refreshed = actOperation(
  "refreshTokenIssuer",
  "Fetch the keys of a token issuer now, on every node.",
  answer("Due on every node, or would be.", REFRESHED),
  { parameters: WRITE_PARAMETERS },
);
const refreshOperation: Json = {
  ...refreshed,
  responses: {
    ...(refreshed["responses"] as Json),
    "202": answer("Due; not every node has heard of it.", REFRESHED),
  },
};

export const ISSUER_ROUTES: readonly AdminRoute[] = [
  get(
    `${ONE}/status`,
    readOperation("getTokenIssuerStatus", "Read the keys of a token issuer, as nodes have them.", STATUS),
    issuerStatus,
  ),
  act("POST", `${ONE}/refresh`, refreshOperation, refreshIssuer),
  ...refuseOthers(`${ONE}/status`, `${ONE}/refresh`),
];
