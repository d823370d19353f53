/**
 * The cluster itself: which store this is, and sealing all secrets anew.
 */
import { APPLIED, DRY_RUN, type Json } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, query, readOperation, WRITE_PARAMETERS } from "../openapi/operation.ts";
import { resealAll } from "../sealing/reseal.ts";
import { describeStore, raiseStoreEpoch } from "../store-epoch.ts";
import { type AdminRoute, act, get, refuseOthers } from "./admin-route.ts";

const IDENTITY: Json = {
  type: "object",
  properties: {
    ...{ id: { type: "string" }, epoch: { type: "integer" } },
    ...{ replaces: { type: "array", items: { type: "string" } }, ...APPLIED, ...DRY_RUN },
  },
  required: ["id", "epoch"],
  additionalProperties: false,
};

const COUNTS: Json = { total: { type: "integer" }, resealed: { type: "integer" }, unchanged: { type: "integer" } };
const texts = (...names: string[]): Json => ({
  type: "object",
  properties: Object.fromEntries(names.map((name) => [name, { type: "string" }])),
  required: names,
});

const RESEALED: Json = {
  type: "object",
  properties: {
    ...{ dry_run: { const: true }, ...COUNTS, ...APPLIED },
    failed: { type: "array", items: texts("key", "reason") },
    warnings: { type: "array", items: texts("code", "key", "message") },
    history: { type: "object", properties: COUNTS, required: Object.keys(COUNTS), additionalProperties: false },
  },
  required: [...Object.keys(COUNTS), "failed", "warnings", "history"],
  additionalProperties: false,
};

export const CLUSTER_ROUTES: readonly AdminRoute[] = [
  get("/store", readOperation("getStore", "Say which store this is.", IDENTITY), describeStore),
  act(
    "POST",
    "/store/epoch",
    actOperation(
      "raiseEpoch",
      "Let all nodes take this store for the right one, as after a restore.",
      answer("Raised, or what would be.", IDENTITY),
      {
        parameters: [
          query("replaces", "Id of a store that is gone, whose nodes shall follow this one."),
          ...WRITE_PARAMETERS,
        ],
      },
    ),
    raiseStoreEpoch,
    ["replaces"],
  ),
  act(
    "POST",
    "/encryption/reseal",
    actOperation(
      "reseal",
      "Seal all stored secrets under the first key of the keyring.",
      answer("Sealed anew, or what would be.", RESEALED),
      { parameters: WRITE_PARAMETERS },
    ),
    resealAll,
  ),
  ...refuseOthers("/store", "/store/*", "/encryption", "/encryption/*"),
];
