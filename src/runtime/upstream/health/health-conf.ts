/**
 * Health checks of an upstream with every default filled and every list of statuses turned into a table.
 * Source: docs/spec/resources.md, section checks.
 */
import { CodedError } from "../../../base/errors.ts";
import { withDefaults } from "../../../base/schema/schema-defaults.ts";
import { ActiveCheck, PassiveCheck } from "../../../model/upstream.ts";
import type { FilledActive, FilledPassive, UpstreamRecord } from "../upstream-record.ts";

/** What a status says: 0 nothing, 1 success, 2 failure; indexed by the status. */
type Verdicts = Uint8Array;

/** How many of a kind change the state; 0 never. */
export interface Thresholds {
  readonly verdicts: Verdicts;
  readonly successes: number;
  readonly httpFailures: number;
  readonly tcpFailures: number;
  readonly timeouts: number;
}

export interface ProbeConf {
  readonly type: "http" | "https" | "tcp";
  /** `http` and `https` are asked in HTTP/2. */
  readonly http2?: boolean | undefined;
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

/**
 * @param http2 the nodes are spoken to in HTTP/2
 * @returns undefined without active checks: nothing could ever heal a node again
 * @throws CodedError CONFIG_INVALID for texts that would break out of the probe's request
 */
export function readChecks(
  record: Pick<UpstreamRecord, "checks" | "pass_host" | "upstream_host">,
  http2 = false,
): HealthConf | undefined {
  const checks = record.checks;
  if (!checks?.active) return undefined;
  // Without a default of their own, absent groups would stay absent.
  const groups = { healthy: {}, unhealthy: {} };
  const active = withDefaults<FilledActive>(ActiveCheck, { ...groups, ...checks.active });
  return Object.freeze({
    probe: readProbe(active, record.pass_host === "rewrite" ? record.upstream_host : undefined, http2),
    concurrency: Math.max(1, active.concurrency),
    healthyIntervalMs: active.healthy.interval * 1000,
    unhealthyIntervalMs: active.unhealthy.interval * 1000,
    active: readThresholds(active),
    passive: checks.passive && readThresholds(withDefaults(PassiveCheck, { ...groups, ...checks.passive })),
  });
}

function readProbe(active: FilledActive, rewrittenHost: string | undefined, http2: boolean): ProbeConf {
  const probe: ProbeConf = {
    type: active.type,
    ...(http2 ? { http2 } : {}),
    timeoutMs: active.timeout * 1000,
    method: active.http_method,
    path: active.http_path,
    body: active.http_req_body,
    headers: active.req_headers ?? [],
    host: active.host ?? rewrittenHost,
    port: active.port,
    verify: active.https_verify_certificate,
  };
  const lines = [...probe.headers, probe.host ?? ""];
  if (!lines.every(isLine) || !isWord(probe.method) || !isWord(probe.path)) {
    throw new CodedError("CONFIG_INVALID", {
      message: "the health check's method, path, host or headers cannot be sent as configured",
    });
  }
  return Object.freeze(probe);
}

function readThresholds({ healthy, unhealthy }: FilledPassive): Thresholds {
  return Object.freeze({
    verdicts: tabulate(healthy.http_statuses, unhealthy.http_statuses),
    successes: healthy.successes,
    httpFailures: unhealthy.http_failures,
    tcpFailures: unhealthy.tcp_failures,
    timeouts: unhealthy.timeouts,
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

/** Whether a text can stand in a line of a request: no control characters, nothing beyond latin1. */
function isLine(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return true;
}

function isWord(text: string): boolean {
  return isLine(text) && text !== "" && !/\s/.test(text);
}
