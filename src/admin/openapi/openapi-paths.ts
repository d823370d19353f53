/**
 * The paths of our OpenAPI description, made from the routes that are served.
 */
import { KINDS } from "../../model/kinds.ts";
import type { AdminRoute } from "../routes/admin-route.ts";
import type { Json } from "./openapi-schemas.ts";

/** Below `/apisix/admin`. */
export function openApiPaths(routes: readonly AdminRoute[]): Json {
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
  store: "The store and its identity.",
  encryption: "Secrets at rest.",
  history: "Writes that were made, and the way back.",
  explain: "What a gateway node would do.",
  refusals: "Calls that gateway nodes refused.",
  revocations: "Tokens that are ended before their time.",
  "openapi.json": "This description.",
};

/** Every tag that an operation has, with a sentence. */
export function openApiTags(paths: Json): readonly Json[] {
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
