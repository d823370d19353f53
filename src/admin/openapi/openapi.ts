/**
 * `GET /openapi.json`: this Admin API as OpenAPI 3.1, generated from the schemas that writes are checked by and from the
 * plugins that are loaded. It says nothing of the configuration.
 */
import { readVersion } from "../../settings/version.ts";
import type { AdminAnswer } from "../admin-response.ts";
import type { PluginCatalog } from "../plugin-catalog.ts";
import type { AdminRoute } from "../routes/admin-route.ts";
import { openApiPaths, openApiTags } from "./openapi-paths.ts";
import { componentSchemas } from "./openapi-schemas.ts";

const documents = new WeakMap<PluginCatalog, string>();

export function describeApi(catalog: PluginCatalog, routes: readonly AdminRoute[]): AdminAnswer {
  let text = documents.get(catalog);
  if (text === undefined) {
    text = `${JSON.stringify(openApiDocument(catalog, routes))}\n`;
    documents.set(catalog, text);
  }
  return { status: 200, body: text };
}

export function openApiDocument(catalog: PluginCatalog, routes: readonly AdminRoute[]): object {
  const paths = openApiPaths(routes);
  return {
    openapi: "3.1.0",
    info: {
      title: "Jotgate Admin API",
      version: readVersion(),
      description: "Apache APISIX's Admin API, and what Jotgate adds to it.",
      contact: { name: "Whoever operates this cluster" },
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/apisix/admin" }],
    security: [{ key: [] }],
    tags: openApiTags(paths),
    paths,
    components: {
      securitySchemes: { key: { type: "apiKey", in: "header", name: "X-API-KEY" } },
      schemas: componentSchemas(catalog),
    },
  };
}
