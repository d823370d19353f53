/**
 * Health checks of an upstream with every default filled and every list turned into a table.
 * Source: spec resources.md, section checks (defaults of APISIX 3.18).
 */
import { GatewayError } from "../../base/errors.ts";
import type { ActiveRecord, HealthyRecord, PassiveRecord, UnhealthyRecord, UpstreamRecord } from "./record.ts";

/** What a status says: 0 nothing, 1 success, 2 failure; indexed by the status. */
export type Verdicts = Uint8Array;

/** How many of a kind in a row change the state; 0 never. */
export interface Thresholds {
  readonly verdicts: Verdicts;
  readonly successes: number;
  readonly httpFailures: number;
  readonly tcpFailures: number;
  readonly timeouts: number;
}

export interface ProbeConf {
  readonly type: "http" | "https" | "tcp";
  readonly timeoutMs: number;
  readonly method: string;
  readonly path: string;
  readonly body: string;
  /** Header lines "Name: value". */
  readonly headers: readonly string[];
  /** Overrides the Host header and server name; undefined: the node's host. */
  readonly host: string | undefined;
  /** Overrides the node's port. */
  readonly port: number | undefined;
  /** Whether https checks the server's certificate. */
  readonly verify: boolean;
}

export interface HealthConf {
  readonly probe: ProbeConf;
  readonly concurrency: number;
  readonly healthyIntervalMs: number;
  readonly unhealthyIntervalMs: number;
  readonly active: Thresholds;
  /** undefined when only probes decide. */
  readonly passive: Thresholds | undefined;
}

const ACTIVE = {
  healthy: [200, 302],
  unhealthy: [429, 404, 500, 501, 502, 503, 504, 505],
  successes: 2,
  httpFailures: 5,
  tcpFailures: 2,
  timeouts: 3,
} as const;

const PASSIVE = {
  healthy: [200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308],
  unhealthy: [429, 500, 503],
  successes: 5,
  httpFailures: 5,
  tcpFailures: 2,
  timeouts: 7,
} as const;

/**
 * @returns undefined without active checks: nothing could ever heal a node again
 * @throws GatewayError CONFIG_INVALID for texts that would break out of the probe's request
 */
export function readChecks(
  record: Pick<UpstreamRecord, "checks" | "pass_host" | "upstream_host">,
): HealthConf | undefined {
  const active = record.checks?.active;
  if (!active) return undefined;
  const passive = record.checks?.passive;
  return Object.freeze({
    probe: readProbe(active, record.pass_host === "rewrite" ? record.upstream_host : undefined),
    concurrency: active.concurrency ?? 10,
    healthyIntervalMs: (active.healthy?.interval ?? 1) * 1000,
    unhealthyIntervalMs: (active.unhealthy?.interval ?? 1) * 1000,
    active: readThresholds(active, ACTIVE),
    passive: passive && readThresholds(passive, PASSIVE),
  });
}

function readProbe(active: ActiveRecord, rewrittenHost: string | undefined): ProbeConf {
  const type = active.type ?? "http";
  if (type !== "http" && type !== "https" && type !== "tcp") throw invalid(`unknown type of health check "${type}"`);
  const probe: ProbeConf = {
    type,
    timeoutMs: (active.timeout ?? 1) * 1000,
    method: active.http_method ?? "GET",
    path: active.http_path ?? "/",
    body: active.http_req_body ?? "",
    headers: active.req_headers ?? [],
    host: active.host ?? rewrittenHost,
    port: active.port,
    verify: active.https_verify_certificate ?? true,
  };
  if (![...probe.headers, probe.host ?? ""].every(isLine) || ![probe.method, probe.path].every(isWord)) {
    throw invalid("the health check's path, host or headers cannot be sent as configured");
  }
  return Object.freeze(probe);
}

type Defaults = typeof ACTIVE | typeof PASSIVE;

function readThresholds(record: ActiveRecord | PassiveRecord, defaults: Defaults): Thresholds {
  const healthy: HealthyRecord = record.healthy ?? {};
  const unhealthy: UnhealthyRecord = record.unhealthy ?? {};
  return Object.freeze({
    verdicts: tabulate(healthy.http_statuses ?? defaults.healthy, unhealthy.http_statuses ?? defaults.unhealthy),
    successes: healthy.successes ?? defaults.successes,
    httpFailures: unhealthy.http_failures ?? defaults.httpFailures,
    tcpFailures: unhealthy.tcp_failures ?? defaults.tcpFailures,
    timeouts: unhealthy.timeouts ?? defaults.timeouts,
  });
}

/** A status in both lists is a success; status 0 stands for an answer that is no HTTP. */
function tabulate(healthy: readonly number[], unhealthy: readonly number[]): Verdicts {
  const verdicts = new Uint8Array(1000);
  verdicts[0] = 2;
  for (const status of unhealthy) verdicts[status] = 2;
  for (const status of healthy) verdicts[status] = 1;
  return verdicts;
}

function isLine(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return true;
}

function isWord(text: string): boolean {
  return isLine(text) && !/\s/.test(text) && text !== "";
}

function invalid(message: string): GatewayError {
  return new GatewayError("CONFIG_INVALID", { message });
}
