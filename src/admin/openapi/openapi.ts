/**
 * `GET /openapi.json`: this Admin API as OpenAPI 3.1, generated from the schemas that writes are checked by and from the
 * plugins that are loaded. It says nothing of the configuration.
 */

import { KINDS } from "../../model/kinds.ts";
import { readVersion } from "../../settings/instance.ts";
import type { AdminAnswer } from "../admin-response.ts";
import type { PluginCatalog } from "../plugin-catalog.ts";
import type { AdminRoute } from "../routes/admin-route.ts";
import { componentSchemas, type Json } from "./openapi-schemas.ts";

const documents = new WeakMap<PluginCatalog, string>();

export function describeApi(catalog: PluginCatalog, routes: readonly AdminRoute[]): AdminAnswer {
  let text = documents.get(catalog);
  if (text === undefined) {
    text = `${JSON.stringify(openApiDocument(catalog, routes))}\n`;
    documents.set(catalog, text);
  }
  return { status: 200, body: text };
}

function openApiDocument(catalog: PluginCatalog, routes: readonly AdminRoute[]): object {
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

/** Below `/apisix/admin`. */
function openApiPaths(routes: readonly AdminRoute[]): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { method, operation, url } of routes) {
    if (!operation) continue;
    const path = url.replace(/:(\w+)/g, "{$1}").replace(/\*$/, "{path}");
    const item = paths[path] ?? { parameters: parametersIn(path) };
    const [, family = ""] = path.split("/");
    item[method.toLowerCase()] = { tags: [family], description: operation["summary"], ...operation };
    paths[path] = item;
  }
  return paths;
}

const FAMILIES: Readonly<Record<string, string>> = {
  plugins: "Plugins that are loaded.",
  schema: "Schemas, and judging records by them.",
  configs: "Whole configurations.",
  nodes: "Gateway nodes.",
  overview: "The cluster as a whole.",
  problems: "Records that gateway nodes cannot use.",
  whoami: "Who asks.",
  store: "The store and its identity.",
  encryption: "Secrets at rest.",
  history: "Writes that were made, and the way back.",
  explain: "What a gateway node would do.",
  refusals: "Calls that gateway nodes refused.",
  revocations: "Tokens that are ended before their time.",
  usage: "What was used when.",
  "openapi.json": "This description.",
};

/** Every tag that an operation has, with a sentence. */
function openApiTags(paths: Json): readonly Json[] {
  const names = new Set<string>();
  for (const item of Object.values(paths))
    for (const operation of Object.values(item as Json))
      for (const tag of ((operation as Json)["tags"] ?? []) as readonly string[]) names.add(tag);
  const kinds = Object.fromEntries(
    Object.values(KINDS).map(({ dir, message }) => [dir, `Records of kind ${message}.`]),
  );
  return [...names].map((name) => ({ name, description: kinds[name] ?? FAMILIES[name] ?? name }));
}

function parametersIn(path: string): readonly Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    ...{ name, in: "path", required: true, schema: { type: "string" } },
  }));
}
