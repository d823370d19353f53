/**
 * The members of an upstream record that the data plane reads. Records come from the store as they are:
 * defaults may be missing, and what the schema leaves open is checked by who reads it.
 */
import type { ActiveCheck, PassiveCheck, Upstream, Node as UpstreamNode } from "../../model/upstream.ts";

export type UpstreamRecord = Pick<
  Upstream,
  | "type"
  | "nodes"
  | "scheme"
  | "hash_on"
  | "key"
  | "retries"
  | "retry_timeout"
  | "timeout"
  | "pass_host"
  | "upstream_host"
  | "keepalive_pool"
  | "tls"
  | "checks"
>;

export type NodeRecord = UpstreamNode;
export type TlsRecord = NonNullable<Upstream["tls"]>;

type Whole<T> = { readonly [Member in keyof T]-?: Exclude<T[Member], undefined> };
type Group<T, Name extends keyof T> = Whole<NonNullable<T[Name]>>;

/** An active check after its defaults were filled in. */
export type FilledActive = Whole<Omit<ActiveCheck, "host" | "port" | "req_headers" | "healthy" | "unhealthy">> &
  Pick<ActiveCheck, "host" | "port" | "req_headers"> & {
    readonly healthy: Group<ActiveCheck, "healthy">;
    readonly unhealthy: Group<ActiveCheck, "unhealthy">;
  };

/** A passive check after its defaults were filled in. */
export type FilledPassive = {
  readonly healthy: Group<PassiveCheck, "healthy">;
  readonly unhealthy: Group<PassiveCheck, "unhealthy">;
};
