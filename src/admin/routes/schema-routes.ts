/**
 * Plugins, schemas, and judging a configuration without writing it.
 * Source: docs/spec/admin-api.md section 6.
 */
import { refuse } from "../admin-response.ts";
import type { Json } from "../openapi/openapi-schemas.ts";
import { actOperation, answer, json, query, readOperation } from "../openapi/operation.ts";
import { describePlugin, describeSchema, listPlugins, validateSchema } from "../plugin-endpoints.ts";
import { validateConfigs } from "../preview/config-validate.ts";
import { checkEnv } from "../write/write-steps.ts";
import { type AdminRoute, get, METHODS, refuseOthers } from "./admin-route.ts";
import { versioned } from "./record-routes.ts";

const OBJECT: Json = { type: "object" };
const SCHEMA_TYPE = query("schema_type", "consumer: the schema of what stands on consumers.");
const ANY_BODY: Json = { requestBody: { required: true, ...json({}) } };

export function schemaRoutes(options: { readonly strict: boolean }): AdminRoute[] {
  const describe = versioned(({ catalog }, { params, args }) => describePlugin(catalog, params["name"], args));
  return [
    get(
      "/plugins/list",
      readOperation(
        "listPlugins",
        "List the names of the plugins that are loaded.",
        { type: "array", items: { type: "string" } },
        [query("subsystem", "http")],
      ),
      ({ catalog }, { args }) => listPlugins(catalog, args.get("subsystem")),
    ),
    get(
      "/plugins",
      readOperation("describePlugins", "Describe all plugins, or one.", OBJECT, [
        query("all", "true: every plugin with its schemas."),
      ]),
      describe,
    ),
    get(
      "/plugins/:name",
      readOperation("getPluginSchema", "Read the schema of a plugin.", OBJECT, [SCHEMA_TYPE]),
      describe,
    ),
    {
      method: "PUT",
      url: "/plugins/reload",
      reads: "nothing",
      operation: actOperation(
        "reloadPlugins",
        "Do nothing: plugins are loaded when a node starts. For tools that call it.",
        { description: "OK." },
      ),
      endpoint: () => ({ status: 200, body: "done" }),
    },
    ...METHODS.filter((method) => method !== "PUT").map(
      (method): AdminRoute => ({
        method,
        url: "/plugins/reload",
        reads: "nothing",
        endpoint: () => refuse(405, `please use PUT method to reload the plugins, ${method} method is not allowed.`),
      }),
    ),
    get(
      "/schema/:kind",
      readOperation("getSchema", "Read the schema of a kind of record.", OBJECT),
      versioned((_engine, { params }) => describeSchema(params["kind"] ?? "")),
    ),
    { method: "GET", url: "/schema", reads: "nothing", endpoint: versioned(() => describeSchema("")) },
    { method: "GET", url: "/schema/plugins", reads: "nothing", endpoint: describe },
    get(
      "/schema/plugins/:name",
      readOperation("getSchemaOfPlugin", "Read the schema of a plugin, by the path that APISIX has as well.", OBJECT, [
        SCHEMA_TYPE,
      ]),
      describe,
    ),
    {
      method: "POST",
      url: "/schema/validate/:kinds",
      reads: "json",
      operation: actOperation(
        "validateRecord",
        "Judge one record without writing it.",
        { description: "OK." },
        ANY_BODY,
      ),
      endpoint: (_engine, { params, body }) => validateSchema(params["kinds"] ?? "", body),
    },
    {
      method: "POST",
      url: "/configs/validate",
      reads: "bytes",
      operation: actOperation(
        "validateConfiguration",
        "Judge a whole configuration without writing it.",
        answer("Valid.", { type: "object", maxProperties: 0 }),
        ANY_BODY,
      ),
      endpoint: (admin, { bytes, header }) =>
        validateConfigs(checkEnv(admin), bytes, header("content-type"), options.strict),
    },
    ...refuseOthers("/plugins", "/plugins/*", "/schema", "/schema/*"),
  ];
}
