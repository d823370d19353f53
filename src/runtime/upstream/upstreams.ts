/**
 * All upstreams of one process: compiles records to units and tells how their targets are.
 * Promise: a unit that replaces another of the same key goes on with its health, counts and turns, provided it is
 * compiled before the former is closed.
 */
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { Counter, Family, Metrics, Sample } from "../../base/metrics.ts";
import type { IpSet } from "../../base/net/ip.ts";
import type { Siblings, StateRegistry } from "../../plugin/plugin.ts";
import { AddressSeries } from "./address-series.ts";
import type { Dns } from "./dns/dns.ts";
import type { Probe } from "./health/node-health.ts";
import { LiveUpstreamUnit, type UnitEnv, type UpstreamHealth, type UpstreamIds } from "./live-upstream-unit.ts";
import type { UpstreamRecord } from "./upstream-record.ts";
import { upstreamError } from "./upstream-record.ts";
import type { CertificatePair } from "./upstream-settings.ts";

interface UpstreamsEnv {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly states: StateRegistry;
  readonly dns: Dns;
  readonly probe: Probe;
  /** PEM texts of the client certificate in an ssl record (`client_cert_id`), or why there are none; its units must be compiled again when it changes. */
  certificate(id: string): CertificatePair | string;
  /** Addresses no node may have. */
  readonly denied?: IpSet | undefined;
  /** Where probes are counted, by outcome; default: a family of `metrics`. */
  readonly probes?: Family<Counter> | undefined;
  /** The other workers of this node: how requests end is counted by all of them. */
  readonly siblings?: Siblings | undefined;
  /** In [0, 1); default Math.random. */
  readonly random?: () => number;
}

export interface Upstreams {
  /**
   * Cost: proportional to the nodes; the ring of chash is placed at the first request.
   * @throws CodedError CONFIG_INVALID for what the schema cannot know
   */
  compile(record: UpstreamRecord, ids: UpstreamIds): LiveUpstreamUnit;
  /** Why a record cannot be compiled; undefined also where a certificate that it names may still come. */
  errorOf(record: UpstreamRecord): string | undefined;
  /** Upstreams with checks that had a request, as `/v1/healthcheck` lists them; plain JSON. */
  healthStatus(): readonly UpstreamHealth[];
  /** Closes every unit that is still open. */
  close(): void;
}

export function openUpstreams(env: UpstreamsEnv): Upstreams {
  const open = new Set<LiveUpstreamUnit>();
  const series = new AddressSeries(open, env.clock, env.metrics);
  const onClose = (unit: LiveUpstreamUnit): void => {
    if (open.delete(unit)) series.left(unit);
  };
  const probes = env.probes ?? countProbes(env.metrics);
  const unitEnv: UnitEnv = {
    ...env,
    certificate: env.certificate.bind(env),
    random: env.random ?? Math.random,
    probes,
    moved: (addresses) => series.moved(addresses),
  };
  const healthStatus = (): readonly UpstreamHealth[] => {
    // While a unit is being replaced both are open: the newer one speaks for the resource.
    const byName = new Map<string, UpstreamHealth>();
    for (const unit of open) {
      const health = unit.health();
      if (health) byName.set(health.name, health);
    }
    return [...byName.values()];
  };
  env.metrics.gaugeOf(
    "jotgate_upstream_healthy",
    "Whether health checks let a target have traffic (1) or not (0)",
    ["upstream", "target"],
    () => [...open].flatMap(sampleTargets),
    "min", // of several workers: whether all of them use it
  );
  env.metrics.gaugeOf(
    "apisix_upstream_status",
    "Upstream status from health check",
    ["name", "ip", "port"],
    () => healthStatus().flatMap(sampleNodes),
    "min",
  );
  return {
    compile(record, ids) {
      const unit = new LiveUpstreamUnit(record, ids, unitEnv, onClose);
      open.add(unit);
      return unit;
    },
    errorOf: (record) => upstreamError(record, env.denied),
    healthStatus,
    close() {
      series.close();
      for (const unit of open) unit.close();
    },
  };
}

/** The family that active health checks are counted in. */
export function countProbes(metrics: Metrics): Family<Counter> {
  return metrics.counter("jotgate_upstream_probes_total", "Active health checks by outcome", ["outcome"]);
}

/** As APISIX shows them; several names with one address are one node there too. */
function sampleNodes({ name, nodes }: UpstreamHealth): readonly Sample[] {
  return nodes.map(({ ip, port, status }) => ({
    labels: [name, ip, String(port)],
    value: status === "healthy" || status === "mostly_healthy" ? 1 : 0,
  }));
}

function sampleTargets(unit: LiveUpstreamUnit): readonly Sample[] {
  return unit.targets().map(({ id, isHealthy }) => ({ labels: [unit.key, id], value: isHealthy ? 1 : 0 }));
}
