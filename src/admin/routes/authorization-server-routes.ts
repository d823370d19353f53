/**
 * Rotating the keys of authorization servers by hand: docs/plugins/authorization-server.md.
 */
import { rotateByHand } from "../keys/rotate-keys.ts";
import { APPLIED, type Json, ref } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, anyOf, query, WRITE_PARAMETERS, warned } from "../openapi/operation.ts";
import { type AdminRoute, METHODS, NO_SUCH_METHOD, writing } from "./admin-route.ts";

const URL = "/authorization_servers/:id/rotate";
const KEYS_ROTATED: Json = {
  type: "object",
  properties: {
    dry_run: { const: true },
    status: { type: "integer" },
    algorithm: { type: "string" },
    next: { type: ["string", "null"], description: "kid of the key that follows." },
    sign_from: { type: ["integer", "null"], description: "Seconds since 1970." },
    retiring: { type: "string", description: "kid of the key that signs until then." },
    verify_until: { type: ["integer", "null"] },
    revoked: { type: "array", items: { type: "string" }, description: "kids that verify nothing any more." },
    ...APPLIED,
  },
  required: ["algorithm", "next", "sign_from"],
  additionalProperties: false,
};

const OPERATION = actOperation(
  "rotateSigningKey",
  "Let the next key of an authorization server sign.",
  warned("Rotated, or what would be.", KEYS_ROTATED),
  {
    parameters: [
      query("algorithm", "Whose key; default: the server's first."),
      query("emergency", "1: a new key signs at once, all others verify nothing any more.", { enum: ["0", "1"] }),
      ...WRITE_PARAMETERS,
    ],
  },
);

export const AUTHORIZATION_SERVER_ROUTES: readonly AdminRoute[] = [
  {
    ...{ method: "POST", url: URL, reads: "nothing", endpoint: writing(rotateByHand, ["algorithm", "emergency"]) },
    operation: {
      ...OPERATION,
      responses: {
        ...(OPERATION["responses"] as Json),
        "202": warned("Rotated; not every node has applied it.", KEYS_ROTATED),
        "404": answer("There is no such record.", anyOf(ref("KeyNotFound"), ref("Error"))),
      },
    },
  },
  ...METHODS.filter((method) => method !== "POST").map(
    (method): AdminRoute => ({ method, url: URL, reads: "nothing", endpoint: () => NO_SUCH_METHOD }),
  ),
];
