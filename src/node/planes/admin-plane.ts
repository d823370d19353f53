/**
 * The admin half of a process: the Admin API on the store, the beat that proves freshness, and the barrier.
 */

import { catalogOf } from "../../admin/plugin-catalog.ts";
import { keyringCodec } from "../../admin/sealing/keyring-codec.ts";
import { openAdminServer } from "../../admin/server.ts";
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import { compileIpSet } from "../../base/net/ip.ts";
import { Barrier } from "../../cluster/barrier.ts";
import { startBeat } from "../../cluster/beat.ts";
import { NodeKeyring } from "../../cluster/node-key.ts";
import { countNodes } from "../../cluster/registry.ts";
import { pluginFieldsOf } from "../../runtime/field-opener.ts";
import type { PluginRegistry } from "../../runtime/plugins/plugin-registry.ts";
import { openSecretProbe } from "../../secret/secret-probe.ts";
import { processEnvironment, type Settings } from "../../settings/settings.ts";
import type { Store, StoreSource } from "../../store/store.ts";
import type { NamedKey } from "../admin-keys.ts";
import { judgeEnvOf, keyringOf } from "../node-parts.ts";
import { readPem, requirePair } from "../store-source.ts";

interface AdminPlaneOptions {
  readonly settings: Settings;
  readonly source: StoreSource;
  readonly registry: PluginRegistry;
  readonly keys: readonly NamedKey[];
  readonly serverHeader: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long a dry run may wait for secret managers, all of them together. */
const PROBE_MS = 2_000;

export interface AdminPlane {
  readonly address: { readonly host: string; readonly port: number };
  readonly store: Store;
  close(): Promise<void>;
}

export async function openAdminPlane(options: AdminPlaneOptions): Promise<AdminPlane> {
  const { settings, clock, log } = options;
  const store = options.source.open();
  const { admin, prefix } = settings;
  const tls =
    admin.tls.cert !== undefined && admin.tls.key !== undefined
      ? {
          cert: readPem("admin.tls.cert", admin.tls.cert).toString("utf8"),
          key: readPem("admin.tls.key", admin.tls.key).toString("utf8"),
          ...(admin.tls.clientCa === undefined
            ? {}
            : { clientCa: readPem("admin.tls.client_ca", admin.tls.clientCa).toString("utf8") }),
        }
      : undefined;
  if (tls) requirePair("admin.tls.cert", tls.cert, "admin.tls.key", tls.key);
  const environment = processEnvironment();
  const barrier = new Barrier({ source: options.source, store, prefix, clock, log });
  const keyring = keyringOf(settings);
  const catalog = catalogOf(options.registry, { compat: settings.compat }, judgeEnvOf(settings, options.registry));
  const server = await openAdminServer({
    store,
    ...(keyring && { codec: keyringCodec(keyring, pluginFieldsOf(options.registry), prefix, catalog.declared) }),
    barrier,
    nodeKey: new NodeKeyring({ store, prefix, keyring, clock }),
    catalog,
    prefix,
    keys: options.keys,
    listen: admin.listen,
    clock,
    log,
    serverHeader: options.serverHeader,
    compat: settings.compat,
    allowList: admin.allowList,
    cors: admin.cors,
    stream: settings.stream,
    routerMode: settings.router.mode,
    isAddressDenied: compileIpSet(settings.tokens.denyAddresses),
    isVariableSet: (name) => environment[name] !== undefined,
    askSecrets: openSecretProbe({
      ...{ environment, clock, allowEnv: settings.secrets.allowEnv, denied: settings.secrets.denyAddresses },
      ...{ nameServers: settings.dns.resolvers, withinMs: PROBE_MS },
    }),
    historyEntries: settings.history.entries,
    usageEveryMs: settings.usage.intervalMs,
    revocations: { maxTokens: settings.tokens.maxRevocations, keepMs: settings.tokens.keepRevokedMs },
    ...(tls ? { tls } : {}),
  });
  barrier.start();
  const stopBeat = startBeat({ store, prefix, clock, log, nodes: () => countNodes(store, prefix) });
  return {
    address: server.address,
    store,
    async close() {
      await barrier.stop(); // first: whoever waits is answered as things stand
      await server.close();
      await stopBeat();
      await store.close();
    },
  };
}
