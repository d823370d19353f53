/**
 * Tells which records the workers will refuse, so that the last-known-good file, which the primary writes, keeps the
 * last good value of those. Nothing it compiles lives on; it looks no name up and asks no upstream.
 */
import type { Clock } from "../../base/clock.ts";
import { silentLog } from "../../base/log.ts";
import { openMetrics } from "../../base/metrics.ts";
import { compileIpSet } from "../../base/net/ip.ts";
import { parseKey } from "../../model/keys.ts";
import { PLACEHOLDER, readRecord, type StoredValue } from "../../model/record.ts";
import type { StateRegistry } from "../../plugin/plugin.ts";
import type { PluginRegistry } from "../../runtime/plugins/plugin-registry.ts";
import { recordError } from "../../runtime/record-checks.ts";
import { openDns } from "../../runtime/upstream/dns/dns.ts";
import type { UpstreamRecord } from "../../runtime/upstream/upstream-record.ts";
import { openUpstreams, type Upstreams } from "../../runtime/upstream/upstreams.ts";
import type { Settings } from "../../settings/settings.ts";
import type { RecordConsumer } from "../../sync/table.ts";

/** For a table of the primary. */
export function openRecordJudge(settings: Settings, registry: PluginRegistry, clock: Clock): RecordConsumer {
  const upstreams = openIdleUpstreams(settings, clock);
  const isGood = (storeKey: string, text: string): boolean => {
    const key = parseKey(settings.prefix, storeKey);
    if (!key || text === PLACEHOLDER) return true;
    try {
      const read = readRecord(key, text);
      if (!read.ok || recordError(key, read.value, registry) !== undefined) return false;
      const upstream = key.kind === "upstream" ? read.value : read.value["upstream"];
      // Where both are given the id counts, and the other may be anything.
      if (upstream !== undefined && read.value["upstream_id"] === undefined) tryUpstream(upstreams, upstream);
      return true;
    } catch {
      return false; // as in the workers, where it is logged
    }
  };
  return {
    apply: ({ changes }) =>
      changes.flatMap(({ key, kv }) => (kv === undefined || isGood(key, kv.value.toString("utf8")) ? [] : [key])),
  };
}

/** @throws GatewayError CONFIG_INVALID */
function tryUpstream(upstreams: Upstreams, value: unknown): void {
  // True: the record passed the schema, which says no less.
  const record = value as UpstreamRecord & { readonly tls?: StoredValue };
  if (record.tls?.["client_cert_id"] !== undefined) return; // a certificate may come later
  upstreams.compile(record, { key: "", id: "", name: "" }).close();
}

function openIdleUpstreams(settings: Settings, clock: Clock): Upstreams {
  const { denyAddresses } = settings.upstreams;
  const env = { clock, log: silentLog, metrics: openMetrics() };
  const states: StateRegistry = {
    hold(_key, make, close) {
      const state = make();
      return { state, release: () => close?.(state) };
    },
  };
  return openUpstreams({
    ...env,
    states,
    dns: openDns({ ...env, lookup: () => Promise.reject(new Error("nobody asks")) }),
    probe: () => Promise.reject(new Error("nobody asks")),
    denied: denyAddresses.length > 0 ? compileIpSet(denyAddresses) : undefined,
    certificate: () => undefined,
  });
}
