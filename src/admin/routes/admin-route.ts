/**
 * One route of the Admin API as data: Fastify serves it, OpenAPI describes it, and a newcomer finds it by its path.
 */
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import type { Json } from "../openapi/openapi-schemas.ts";
import { writeAndWait } from "../write/wait-applied.ts";
import { argumentRefusal, writeOptionsOf } from "../write/write-options.ts";

export type Endpoint = (admin: AdminContext, request: AdminRequest) => AdminAnswer | Promise<AdminAnswer>;

/** Where a request is forwarded to, or why it is not. */
export type Forward = (admin: AdminContext, request: AdminRequest) => Promise<URL | AdminAnswer>;

export const METHODS = ["GET", "PUT", "POST", "DELETE", "PATCH"] as const;
export type RouteMethod = (typeof METHODS)[number];

export interface AdminRoute {
  readonly method: RouteMethod;
  /** Below `/apisix/admin`, as Fastify writes it: `/history/:revision/rollback`. */
  readonly url: string;
  /** What is read of the body before the endpoint runs: parsed JSON, bytes as they came, or nothing. */
  readonly reads: "json" | "bytes" | "nothing";
  /** Of the body; default: what one record may have. */
  readonly maxBytes?: number;
  readonly endpoint: Endpoint;
  /** Instead of the endpoint: another listener answers. */
  readonly forward?: Forward | undefined;
  /** Its operation in the OpenAPI description; undefined for paths that only refuse. */
  readonly operation?: Json | undefined;
}

/** A path of a known resource, with a method or depth that it does not have. */
export const NO_SUCH_METHOD = refuse(404, "not found");

export function get(url: string, operation: Json, endpoint: Endpoint): AdminRoute {
  return { method: "GET", url, reads: "nothing", endpoint, operation };
}

/** A route that changes the configuration without a record in its body; its writer may wait for all nodes. */
export function act(
  method: "PUT" | "POST",
  url: string,
  operation: Json,
  endpoint: Endpoint,
  own: readonly string[] = [],
): AdminRoute {
  return { method, url, reads: "nothing", operation, endpoint: writing(endpoint, own) };
}

/**
 * Reads what a write may ask for (wait, dry run, conditions), and waits when the write is done.
 * @param own query arguments of this endpoint alone
 */
export function writing(endpoint: Endpoint, own: readonly string[] = []): Endpoint {
  return async (admin, request) => {
    const unknown = argumentRefusal(request.args, own);
    if (unknown) return unknown;
    const options = writeOptionsOf(request.args, request.header);
    if ("status" in options) return options;
    return writeAndWait(admin, { ...request, options }, async (asked) => endpoint(admin, asked));
  };
}

/** Refuses every method of these paths that no route takes. */
export function refuseOthers(...urls: readonly string[]): AdminRoute[] {
  return urls.flatMap((url) =>
    METHODS.map((method) => ({ method, url, reads: "nothing" as const, endpoint: () => NO_SUCH_METHOD })),
  );
}
