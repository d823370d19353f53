/**
 * The paths of our OpenAPI description, made from the routes that are served.
 */
import type { AdminRoute } from "../routes/admin-route.ts";
import type { Json } from "./openapi-schemas.ts";

/** Below `/apisix/admin`. */
export function openApiPaths(routes: readonly AdminRoute[]): Json {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const { method, operation, url } of routes) {
    if (!operation) continue;
    const path = url.replace(/:(\w+)/g, "{$1}").replace(/\*$/, "{path}");
    const item = paths[path] ?? { parameters: parametersIn(path) };
    item[method.toLowerCase()] = operation;
    paths[path] = item;
  }
  return paths;
}

function parametersIn(path: string): readonly Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    ...{ name, in: "path", required: true, schema: { type: "string" } },
  }));
}
