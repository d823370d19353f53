/**
 * The admin half of a process: the Admin API on the store, the beat that proves freshness, and the barrier.
 */

import { X509Certificate } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { AdminTls } from "../../admin/admin-listener.ts";
import { CONSOLE_FOLDER } from "../../admin/console/console-files.ts";
import { makeOneTimeLink } from "../../admin/console/one-time-link.ts";
import { catalogOf } from "../../admin/plugin-catalog.ts";
import { keyringCodec } from "../../admin/sealing/keyring-codec.ts";
import { openAdminServer } from "../../admin/server.ts";
import type { Clock } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
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
import { keyringOf, verdictChecksOf, writeContextOf } from "../node-parts.ts";
import { readPem, requirePair } from "../store-source.ts";

interface AdminPlaneOptions {
  readonly settings: Settings;
  readonly source: StoreSource;
  readonly registry: PluginRegistry;
  readonly keys: readonly NamedKey[];
  readonly serverHeader: string;
  /** Whether somebody reads what this process prints. */
  readonly isTerminal: boolean;
  readonly clock: Clock;
  readonly log: Log;
}

/** How long a dry run may wait for secret managers, all of them together. */
const PROBE_MS = 2_000;

export interface AdminPlane {
  readonly address: { readonly host: string; readonly port: number };
  readonly store: Store;
  /**
   * Reads the files of `admin.tls` again. @throws what is wrong with them. @returns what makes all of it count from then on, and
   * whether the files say something else than before; that cannot fail
   */
  prepare(settings: Settings, keys: readonly NamedKey[]): () => { readonly hasNewTls: boolean };
  /** Token of a one-time link to the console, where a terminal on this machine can show one. */
  consoleToken(): string | undefined;
  close(): Promise<void>;
}

/** @throws CodedError SETTINGS_INVALID naming the setting and the file */
function readTls({ cert, key, clientCa }: Settings["admin"]["tls"]): AdminTls | undefined {
  if (cert === undefined || key === undefined) return undefined;
  const read = (name: string, file: string): string => readPem(`admin.tls.${name}`, file).toString("utf8");
  const tls = {
    ...{ cert: read("cert", cert), key: read("key", key) },
    ...(clientCa !== undefined && { clientCa: read("client_ca", clientCa) }),
  };
  requirePair("admin.tls.cert", tls.cert, "admin.tls.key", tls.key);
  try {
    if (tls.clientCa !== undefined) new X509Certificate(tls.clientCa);
  } catch {
    throw new CodedError("SETTINGS_INVALID", {
      message: `admin.tls.client_ca: ${clientCa} holds no certificate in PEM`,
    });
  }
  return tls;
}

export async function openAdminPlane(options: AdminPlaneOptions): Promise<AdminPlane> {
  const { settings, clock, log } = options;
  const store = options.source.open();
  const { admin, prefix } = settings;
  let tls = readTls(admin.tls);
  const environment = processEnvironment();
  const barrier = new Barrier({ source: options.source, store, prefix, clock, log });
  const keyring = keyringOf(settings);
  const catalog = catalogOf(options.registry, writeContextOf(settings), verdictChecksOf(settings, options.registry));
  const adminKey = options.keys.find(({ role }) => role === "admin");
  const link = options.isTerminal && admin.console && adminKey ? makeOneTimeLink(adminKey.key, clock) : undefined;
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
    ...(admin.console && { console: { folder: CONSOLE_FOLDER, link } }),
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
    prepare(next, keys) {
      const read = readTls(next.admin.tls);
      const commit = server.prepare({ keys, allowList: next.admin.allowList, tls: read });
      return () => {
        commit();
        const hasNewTls = !isDeepStrictEqual(read, tls);
        tls = read;
        return { hasNewTls };
      };
    },
    consoleToken: () => link?.issue(),
    async close() {
      await barrier.stop(); // first: whoever waits is answered as things stand
      await server.close();
      await stopBeat();
      await store.close();
    },
  };
}
