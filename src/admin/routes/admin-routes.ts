/**
 * All routes of the Admin API. A new one goes into the file of its family beside this one; what stands here is served,
 * and what has an operation is described in `GET /openapi.json`.
 */
import { describeApi } from "../openapi/openapi.ts";
import { readOperation } from "../openapi/operation.ts";
import { type AdminRoute, get, refuseOthers } from "./admin-route.ts";
import { AUTHORIZATION_SERVER_ROUTES } from "./authorization-server-routes.ts";
import { CLUSTER_ROUTES } from "./cluster-routes.ts";
import { EXPLAIN_ROUTES } from "./explain-routes.ts";
import { EXPORT_ROUTES } from "./export-routes.ts";
import { HISTORY_ROUTES } from "./history-routes.ts";
import { ISSUER_ROUTES } from "./issuer-routes.ts";
import { MINT_ROUTES } from "./mint-routes.ts";
import { NODE_ROUTES } from "./node-routes.ts";
import { OVERVIEW_ROUTES } from "./overview-routes.ts";
import { recordRoutes } from "./record-routes.ts";
import { REVOCATION_ROUTES } from "./revocation-routes.ts";
import { ROTATE_ROUTES } from "./rotate-routes.ts";
import { schemaRoutes } from "./schema-routes.ts";
import { USAGE_ROUTES } from "./usage-routes.ts";

interface AdminRouteOptions {
  /** Off: stream routes are refused as APISIX refuses them without a stream proxy. */
  readonly stream: boolean;
  /** Bodies that two readers could read differently are refused. */
  readonly strict: boolean;
}

/** @returns one route for each method and path; of two, the first counts */
export function adminRoutes(options: AdminRouteOptions): readonly AdminRoute[] {
  const routes = new Map<string, AdminRoute>();
  const all = [
    ...AUTHORIZATION_SERVER_ROUTES,
    ...recordRoutes(options),
    ...schemaRoutes(options),
    ...EXPORT_ROUTES,
    ...EXPLAIN_ROUTES,
    ...NODE_ROUTES,
    ...OVERVIEW_ROUTES,
    ...CLUSTER_ROUTES,
    ...HISTORY_ROUTES,
    ...REVOCATION_ROUTES,
    ...ROTATE_ROUTES,
    ...MINT_ROUTES,
    ...ISSUER_ROUTES,
    ...USAGE_ROUTES,
    get("/openapi.json", readOperation("getOpenApi", "Read this description.", { type: "object" }), ({ catalog }) =>
      describeApi(catalog, described),
    ),
    ...refuseOthers("/openapi.json", "/openapi.json/*"),
  ];
  for (const route of all) {
    const key = `${route.method} ${route.url}`;
    if (!routes.has(key)) routes.set(key, route);
  }
  const described = [...routes.values()];
  return described;
}
