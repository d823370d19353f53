/**
 * Ending tokens before their time: docs/revocation.md.
 */
import { CHECKED, REVOCATION, REVOCATION_BODY, REVOKED, REVOKED_TOKENS } from "../openapi/openapi-revocations.ts";
import { type Json, listOf, ref } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, anyOf, json, query, readOperation, WRITE_PARAMETERS } from "../openapi/operation.ts";
import { checkRevocation, getRevocation, listRevocations } from "../revocations/revocation-read.ts";
import { REVOKE_BODY_BYTES_MAX, revoke, takeBack } from "../revocations/revoke.ts";
import { type AdminRoute, get, refuseOthers, writing } from "./admin-route.ts";

const NO_RULE = answer("There is no such rule.", anyOf(ref("KeyNotFound"), ref("Error")));

function withResponses(operation: Json, responses: Json): Json {
  return { ...operation, responses: { ...(operation["responses"] as Json), ...responses } };
}

const body = { reads: "bytes", maxBytes: REVOKE_BODY_BYTES_MAX } as const;

export const REVOCATION_ROUTES: readonly AdminRoute[] = [
  get(
    "/revocations",
    readOperation(
      "listRevocations",
      "List the rules by which tokens are refused, and count the tokens.",
      listOf(REVOCATION, REVOKED_TOKENS),
      [query("page", "Counted from 1.", { type: "integer" }), query("page_size", "At most 500.", { type: "integer" })],
    ),
    listRevocations,
  ),
  {
    ...{ method: "POST", url: "/revocations", ...body, endpoint: writing(revoke) },
    operation: withResponses(
      actOperation(
        "revoke",
        "End tokens before their time: one, or by consumer, client, subject, kid or issuer.",
        answer("Revoked, or what would be.", REVOKED),
        {
          parameters: WRITE_PARAMETERS,
          requestBody: { required: true, ...json(REVOCATION_BODY) },
        },
      ),
      {
        "202": answer("Revoked; not every node has applied it.", REVOKED),
        "507": answer("As many tokens are revoked as tokens.max_revocations allows.", ref("Error")),
      },
    ),
  },
  {
    ...{ method: "POST", url: "/revocations/check", ...body, endpoint: checkRevocation },
    operation: actOperation(
      "checkRevocation",
      "Say whether a token is revoked, and by what.",
      answer("Whether it is revoked, and by what.", CHECKED),
      {
        requestBody: { required: true, ...json({ type: "object" }) },
      },
    ),
  },
  get(
    "/revocations/:name",
    withResponses(readOperation("getRevocation", "Read one rule.", REVOCATION), { "404": NO_RULE }),
    getRevocation,
  ),
  {
    ...{ method: "DELETE", url: "/revocations/:name", reads: "nothing", endpoint: writing(takeBack) },
    operation: withResponses(
      actOperation(
        "takeRevocationBack",
        "Take one rule back: the tokens that it ended are good again.",
        answer("Taken back, or what would be.", ref("Deleted")),
        {
          parameters: WRITE_PARAMETERS,
        },
      ),
      { "202": answer("Taken back; not every node has applied it.", ref("Deleted")), "404": NO_RULE },
    ),
  },
  ...refuseOthers("/revocations", "/revocations/*"),
];
