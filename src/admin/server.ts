/**
 * The Admin API as a whole: the parts it is made of, its start and its stop.
 */
import type { Clock } from "../base/clock.ts";
import type { Barrier } from "../cluster/barrier.ts";
import { NodeKeyring } from "../cluster/node-key.ts";
import type { RouterMode } from "../runtime/routes/router.ts";
import type { AskSecrets } from "../secret/secret-probe.ts";
import type { Store } from "../store/store.ts";
import { type AccessKey, openAccess } from "./access.ts";
import type { AdminContext } from "./admin-context.ts";
import { type AdminTls, type ListenerOptions, makeListener, prepareTls, serve } from "./admin-listener.ts";
import { keepPreparing } from "./bootstrap.ts";
import { type ConsoleOptions, serveConsole } from "./console/console-files.ts";
import { openHistory } from "./history/history.ts";
import { keepKeys } from "./keys/rotate-keys.ts";
import { openNodeList } from "./node-list.ts";
import { openClusterPulse } from "./overview/cluster-pulse.ts";
import { openExpiring } from "./overview/expiring.ts";
import type { PluginCatalog } from "./plugin-catalog.ts";
import { openRecordLists } from "./read/record-lists.ts";
import { keepRevocations } from "./revocations/revocation-keeper.ts";
import { openAdminRevocations, type RevocationLimits } from "./revocations/revocation-writer.ts";
import { adminRoutes } from "./routes/admin-routes.ts";
import { type FieldCodec, plainCodec } from "./sealing/keyring-codec.ts";
import { openStoreNews } from "./store-news.ts";
import { storeIdentityKey } from "./store-paths.ts";
import { keepUsage } from "./usage/usage-keeper.ts";
import { openKeyQueue } from "./write/key-queue.ts";
import { openReferenceGuard } from "./write/reference-guard.ts";
import { openUniqueIndex } from "./write/unique-index.ts";

export interface AdminOptions extends ListenerOptions {
  readonly store: Store;
  readonly catalog: PluginCatalog;
  /** Prefix of all keys, without a trailing slash. */
  readonly prefix: string;
  readonly keys: readonly AccessKey[];
  readonly listen: { readonly host: string; readonly port: number };
  readonly clock: Clock;
  readonly compat: "default" | "apisix-3.5" | "strict";
  /** Addresses and CIDR ranges; empty: everyone who reaches the listener. */
  readonly allowList: readonly string[];
  /** Whether stream routes are stored; default: true. */
  readonly stream?: boolean;
  /** Default: values are stored as they are. */
  readonly codec?: FieldCodec;
  /** How gateway nodes match routes; default `radixtree_host_uri`. */
  readonly routerMode?: RouterMode;
  /** Whether this process has an environment variable that records refer to; default: all are taken to be set. */
  readonly isVariableSet?: (name: string) => boolean;
  /** Default: none is. */
  readonly isAddressDenied?: (address: string) => boolean;
  /** Asks secret managers, for dry runs; default: none is asked. */
  readonly askSecrets?: AskSecrets;
  /** How many writes are remembered, 0: none; default 1,000. */
  readonly historyEntries?: number;
  /** Default: 1,000,000 tokens, 10 minutes. */
  readonly revocations?: Partial<RevocationLimits>;
  /** How often what nodes have used is put together; default: it is not. */
  readonly usageEveryMs?: number | undefined;
  /** What admins show to nodes; default: one that is stored as it is. */
  readonly nodeKey?: NodeKeyring;
  /** The console's files; default: it is not served. */
  readonly console?: ConsoleOptions | undefined;
  /** What `?wait=all` waits by; started and stopped by its owner. Default: nobody can wait. */
  readonly barrier?: Barrier;
}

interface AdminServer {
  readonly address: { readonly host: string; readonly port: number };
  /** @throws what is wrong with them. @returns what makes them count from then on; that cannot fail */
  prepare(next: Pick<AdminOptions, "keys" | "allowList"> & { readonly tls: AdminTls | undefined }): () => void;
  /** Ends running requests, then the listener; twice is fine. */
  close(): Promise<void>;
}

const HISTORY_ENTRIES = 1_000;

/**
 * Listens, and prepares the store (placeholders, identity): at once, or when a store that is away comes back.
 * @throws CodedError SETTINGS_INVALID without keys; Error when the port is taken
 */
export async function openAdminServer(options: AdminOptions): Promise<AdminServer> {
  const access = openAccess({
    keys: options.keys,
    allowList: options.allowList,
    keyAnywhere: options.compat === "apisix-3.5",
    origins: Array.isArray(options.cors) ? options.cors : [],
    clock: options.clock,
    log: options.log,
  });
  const admin = buildEngine(options);
  const news = openStoreNews(options.store, storeIdentityKey(options.prefix), options.clock, options.log);
  const app = makeListener(options, access, news);
  const strict = options.compat === "strict";
  for (const route of adminRoutes({ stream: options.stream !== false, strict })) serve(app, admin, route, strict);
  if (options.console) serveConsole(app, options.console, options.serverHeader);
  await app.listen({ host: options.listen.host, port: options.listen.port });
  const preparation = await keepPreparing(admin);
  const stopTidying = keepRevocations(admin);
  const stopRotating = keepKeys(admin);
  const stopUsage = keepUsage(admin, options.usageEveryMs);
  const bound = app.server.address();
  let closing: Promise<void> | undefined;
  return {
    address: typeof bound === "object" && bound ? { host: bound.address, port: bound.port } : options.listen,
    prepare({ tls, ...rules }) {
      const commits = [access.prepare(rules), ...(tls ? [prepareTls(app, tls)] : [])];
      return () => {
        for (const commit of commits) commit();
      };
    },
    close() {
      preparation.stop();
      news.stop();
      closing ??= app.close().then(async () => {
        await stopTidying();
        await stopRotating();
        await stopUsage();
        admin.pulse.stop();
        await admin.lists.stop();
        await admin.history.idle();
      });
      return closing;
    },
  };
}

function buildEngine(options: AdminOptions): AdminContext {
  const { store, prefix, catalog, clock, log } = options;
  const codec = options.codec ?? plainCodec((name, side) => catalog.get(name)?.encryptFields(side) ?? []);
  const nodeKey = options.nodeKey ?? new NodeKeyring({ store, prefix, keyring: undefined, clock });
  return {
    store,
    prefix,
    catalog,
    routerMode: options.routerMode ?? "radixtree_host_uri",
    codec,
    isVariableSet: options.isVariableSet ?? (() => true),
    isAddressDenied: options.isAddressDenied ?? (() => false),
    askSecrets: options.askSecrets,
    clock,
    log,
    unique: openUniqueIndex(store, prefix, catalog, codec),
    references: openReferenceGuard(store, prefix),
    queue: openKeyQueue(),
    barrier: options.barrier,
    nodes: openNodeList(store, prefix, clock, options.barrier),
    nodeKey,
    pulse: openClusterPulse({ store, prefix, clock, log, nodeKey }),
    lists: openRecordLists({ store, prefix, clock, log }),
    expiring: openExpiring({ store, prefix, clock, log }),
    history: openHistory(options.historyEntries ?? HISTORY_ENTRIES),
    revocations: openAdminRevocations(options.revocations),
  };
}
