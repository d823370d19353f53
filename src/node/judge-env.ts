/**
 * What the judge of records needs to know of a node's settings, where no live configuration is at hand: in the primary
 * of workers, and for the Admin API.
 */
import { compileIpSet } from "../base/net/ip.ts";
import { tlsHostError } from "../gateway/tls/server-certificate.ts";
import { openFields } from "../runtime/field-opener.ts";
import type { PluginRegistry } from "../runtime/plugins/plugin-registry.ts";
import type { PluginHost } from "../runtime/plugins/plugin-unit.ts";
import type { JudgeEnv } from "../runtime/record-verdict.ts";
import { upstreamError } from "../runtime/upstream/upstream-verdict.ts";
import type { Settings } from "../settings/settings.ts";
import { tlsOptions } from "./gateway-options.ts";
import { keyringOf } from "./open-keyring.ts";

export function judgeEnvOf(settings: Settings, registry: PluginRegistry): JudgeEnv & Pick<PluginHost, "mayBeMissing"> {
  const { denyAddresses } = settings.upstreams;
  const denied = denyAddresses.length > 0 ? compileIpSet(denyAddresses) : undefined;
  const optional = new Set(settings.pluginsMayBeMissing);
  return {
    registry,
    upstreamError: (record) => upstreamError(record, denied),
    sslError: (value) => tlsHostError(value, tlsOptions(settings)),
    decrypt: openFields(keyringOf(settings), registry, settings.prefix),
    mayBeMissing: (plugin) => optional.has(plugin),
  };
}
