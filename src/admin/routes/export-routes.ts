/**
 * The whole configuration in one answer: docs/operations/files.md.
 */
import type { Json } from "../openapi/openapi-schemas.ts";
import { actOperation, FAULTS, json, query, readOperation } from "../openapi/operation.ts";
import { exportSealed, exportShown } from "../read/export-records.ts";
import { type AdminRoute, get, refuseOthers } from "./admin-route.ts";

const LINES: Json = {
  description: "One record a line; the last line has `end`, without it the answer is not whole.",
  content: { "application/x-ndjson": { schema: { type: "string" } } },
};
const KEY: Json = {
  type: "object",
  properties: { key: { type: "string", pattern: "^[A-Za-z0-9_-]{43}$" } },
  required: ["key"],
};

export const EXPORT_ROUTES: readonly AdminRoute[] = [
  get(
    "/configs/export",
    {
      ...readOperation("exportConfiguration", "Read all records as of one revision.", {}, [
        query("masked", "1: secrets as viewers see them.", { enum: ["0", "1"] }),
      ]),
      responses: { "200": LINES, ...FAULTS },
    },
    exportShown,
  ),
  {
    method: "POST",
    url: "/configs/export",
    reads: "json",
    operation: actOperation(
      "exportConfigurationSealed",
      "Read all records with their secrets, which are sealed under the key that is sent.",
      LINES,
      { requestBody: { required: true, ...json(KEY) } },
    ),
    endpoint: exportSealed,
  },
  ...refuseOthers("/configs/export"),
];
