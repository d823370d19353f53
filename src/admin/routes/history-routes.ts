/**
 * The history of writes, and going back in it.
 */
import { getHistoryEntry, listHistory } from "../history/history-read.ts";
import { rollBack } from "../history/rollback.ts";
import { REVOKED_ENTRY } from "../openapi/openapi-revocations.ts";
import { APPLIED, DRY_RUN, type Json, listOf, ref } from "../openapi/openapi-schemas.ts";
import { actOperation, query, readOperation, WRITE_PARAMETERS, warned } from "../openapi/operation.ts";
import { type AdminRoute, act, get, refuseOthers } from "./admin-route.ts";

const HISTORY_ENTRY: Json = {
  type: "object",
  properties: {
    ...{ revision: { type: "integer" }, time: { type: "integer" }, actor: { type: "string" } },
    ...{ address: { type: "string" }, method: { type: "string" }, path: { type: "string" } },
    changes: { type: "array", items: ref("Change") },
    revoked: REVOKED_ENTRY,
    resealed: { type: "integer", description: "records that were sealed anew, without any other change" },
  },
  required: ["revision", "time", "actor", "address", "method", "path", "changes"],
  additionalProperties: false,
};

const ROLLED_BACK: Json = {
  type: "object",
  properties: {
    rolled_back_to: { type: "integer" },
    ...DRY_RUN,
    ...APPLIED,
  },
  required: ["rolled_back_to", "changes", "warnings"],
  additionalProperties: false,
};

export const HISTORY_ROUTES: readonly AdminRoute[] = [
  get(
    "/history",
    readOperation("listHistory", "List the writes that are remembered, newest first.", listOf(HISTORY_ENTRY), [
      query("page", "Counted from 1.", { type: "integer" }),
      query("page_size", "At most 500.", { type: "integer" }),
      query("key", "A record, such as routes/1."),
    ]),
    listHistory,
  ),
  get(
    "/history/:revision",
    readOperation("getHistoryEntry", "Read what one write changed.", HISTORY_ENTRY),
    getHistoryEntry,
  ),
  act(
    "POST",
    "/history/:revision/rollback",
    actOperation(
      "rollBack",
      "Bring records back to what they were at a revision.",
      warned("Rolled back, or what would change.", ROLLED_BACK),
      {
        parameters: [query("key", "Only this record, such as routes/1."), ...WRITE_PARAMETERS],
      },
    ),
    rollBack,
    ["key"],
  ),
  ...refuseOthers("/history", "/history/*"),
];
