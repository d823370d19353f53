/**
 * Rotating the keys of consumers and credentials without a refused call: docs/plugins/jwt-auth.md.
 */
import { KINDS, type KindName } from "../../model/kinds.ts";
import { APPLIED, DRY_RUN, type Json, ref } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, anyOf, json, query, WRITE_PARAMETERS, warned } from "../openapi/operation.ts";
import { rotate } from "../write/rotate-record.ts";
import { type AdminRoute, type Endpoint, METHODS, NO_SUCH_METHOD, writing } from "./admin-route.ts";

const ROTATED: Json = {
  type: "object",
  properties: {
    ...{ key: { type: "string" }, plugin: { type: "string" } },
    generated: { type: "object", additionalProperties: { type: "string" } },
    previous_keys: { type: "array", items: { type: "object", properties: { not_after: { type: "integer" } } } },
    ...APPLIED,
    ...DRY_RUN,
  },
  required: ["key", "plugin", "previous_keys"],
  additionalProperties: false,
};

const NEW_PAIR = { public_key: { type: "string" }, private_key: { type: "string" } };

function operationOf(operationId: string, owner: string): Json {
  const body = { requestBody: { required: false, ...json({ type: "object", properties: NEW_PAIR }) } };
  const operation = actOperation(
    operationId,
    `Give a ${owner} a new key, and take the former one for a while.`,
    warned("Rotated, or what would be.", ROTATED),
    {
      parameters: [
        query("overlap", "Seconds that the former key is taken; default 86400, 0: not at all.", { type: "integer" }),
        query("plugin", "Which plugin's key, where several can be rotated."),
        ...WRITE_PARAMETERS,
      ],
      ...body,
    },
  );
  return {
    ...operation,
    responses: {
      ...(operation["responses"] as Json),
      "202": warned("Rotated; not every node has applied it.", ROTATED),
      "404": answer("There is no such record.", anyOf(ref("KeyNotFound"), ref("Error"))),
    },
  };
}

function routesOf(url: string, kind: KindName, operationId: string): AdminRoute[] {
  const endpoint: Endpoint = (admin, request) => {
    const { username = "", id } = request.params;
    const owner = kind === "credential" ? { consumer: username, localId: id ?? "" } : { localId: username };
    return rotate(admin, request, { kind: KINDS[kind], subPath: "", ...owner });
  };
  return [
    {
      method: "POST",
      url,
      reads: "json",
      operation: operationOf(operationId, kind),
      endpoint: writing(endpoint, ["overlap", "plugin"]),
    },
    ...METHODS.filter((method) => method !== "POST").map(
      (method): AdminRoute => ({ method, url, reads: "nothing", endpoint: () => NO_SUCH_METHOD }),
    ),
  ];
}

export const ROTATE_ROUTES: readonly AdminRoute[] = [
  ...routesOf("/consumers/:username/rotate", "consumer", "rotateConsumer"),
  ...routesOf("/consumers/:username/credentials/:id/rotate", "credential", "rotateCredential"),
];
