/**
 * The members of an upstream record that the data plane reads. Records come from the store as they are:
 * defaults may be missing, and what the schema leaves open is checked by who reads it.
 */

import { messageOf } from "../../base/errors.ts";
import type { IpSet } from "../../base/net/ip.ts";
import type { ActiveCheck, PassiveCheck, Upstream, Node as UpstreamNode } from "../../model/upstream.ts";
import { checkRule } from "./balance/balance-plan.ts";
import { readChecks } from "./health/health-conf.ts";
import { readPassHost } from "./live-upstream-unit.ts";
import { readScheme, readTargets, refuseDenied } from "./target-list.ts";
import { readTls } from "./upstream-settings.ts";

export type UpstreamRecord = Pick<
  Upstream,
  | "type"
  | "nodes"
  | "scheme"
  | "http2"
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

/**
 * @param record has passed the schema
 * @returns why requests could not be sent to it; undefined also where a certificate that it names may still come
 */
export function upstreamError(record: UpstreamRecord, denied: IpSet | undefined): string | undefined {
  try {
    const scheme = readScheme(record.scheme);
    readPassHost(record);
    if (record.tls?.client_cert_id === undefined) readTls(record.tls, scheme, () => "not asked here");
    readChecks(record);
    const targets = readTargets(record.nodes, scheme);
    refuseDenied(targets, denied);
    checkRule(record, targets.length);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
