/**
 * The configuration that requests are served by: what the records of the store mean, kept up to date change by change.
 * Promise: a batch is applied in one turn; a record that cannot be taken keeps its last good unit and is listed; the
 * cost of a change follows the change. Source: docs/spec/etcd-layout.md section 4.
 */
import { isCodedError, messageOf } from "../base/errors.ts";
import type { PackedRecord, PackedRecords } from "../base/packed/packed-map.ts";
import { dirOf, keyOf, parseKey, type RecordKey } from "../model/keys.ts";
import type { KindName } from "../model/kinds.ts";
import { isPlaceholder, type StoredValue } from "../model/record.ts";
import { revocationsDir } from "../model/revocation.ts";
import type { NodeEnv, ResourceInfo } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import type { Change, KeyValue, Revision, Store } from "../store/store.ts";
import { openClientCertificates, openSsls, type SslListener } from "./certificates.ts";
import { Consumers } from "./consumers/consumers.ts";
import { type IssuerSink, openKinds } from "./live-kinds.ts";
import { type EnvironmentParts, openPluginEnvironment } from "./plugins/plugin-environment.ts";
import type { PluginRegistry } from "./plugins/plugin-registry.ts";
import type { PluginHost } from "./plugins/plugin-unit.ts";
import { type SecretSource, SecretUsers } from "./plugins/secret-source.ts";
import { openProblems, type Problem } from "./problems.ts";
import { missingPlugins } from "./record-checks.ts";
import { openRecord, type VerdictChecks, verdictOn } from "./record-verdict.ts";
import { type LiveRevocations, openRevocations } from "./revocation/live-revocations.ts";
import { openTokenEndings } from "./revocation/token-endings.ts";
import { openGlobalRules } from "./routes/global-rules.ts";
import type { RouteMatch } from "./routes/route-entry.ts";
import { type Pipeline, type Route, RouteUnit, type UpstreamChoice } from "./routes/route-unit.ts";
import type { RouterMode, Tried } from "./routes/router.ts";
import { openRoutes } from "./routes/routes.ts";
import { openSigningRecords, type ServerSink } from "./signing-records.ts";
import { TakenRecords } from "./taken-records.ts";
import type { CertificatePair } from "./upstream/upstream-settings.ts";
import {
  certificateChanged,
  MISSING_UPSTREAM,
  NO_UPSTREAM,
  UpstreamSlot,
  type UpstreamSlotHost,
} from "./upstream/upstream-slot.ts";
import type { Upstreams } from "./upstream/upstreams.ts";
import { NO_USED_LOG, openUsedLog, type UsedLog } from "./used-log.ts";

export interface LiveOptions extends EnvironmentParts {
  /** Without a trailing slash; default `/apisix`. */
  readonly prefix?: string;
  /** Default `radixtree_host_uri`. */
  readonly mode?: RouterMode;
  readonly registry: PluginRegistry;
  readonly secrets: SecretSource;
  readonly upstreams: Upstreams;
  /** Takes records of issuers of tokens; default: they mean nothing here. */
  readonly issuers?: IssuerSink | undefined;
  /** Takes records of authorization servers and their keys; default: they mean nothing here. */
  readonly servers?: ServerSink | undefined;
  /** How long a revoked token is remembered after its end; default 10 minutes. */
  readonly keepRevokedMs?: number;
  /** Whether uses of credentials and keys are noted; default: no. */
  readonly notesUses?: boolean;
  /** Where clients' revocations are written, and how many tokens may be revoked; default: they are not. */
  readonly revoking?: { readonly store: () => Store; readonly most: number } | undefined;
  /** Plugins that are left out where they are not loaded; any other then refuses requests. Default: none. */
  readonly mayBeMissing?: ReadonlySet<string>;
  /** Opens the encrypted members of a record; throws what is then the record's problem. */
  readonly decrypt?: (key: RecordKey, value: StoredValue) => StoredValue;
}

/** Changes that belong together. */
interface LiveBatch {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

export interface LiveConfiguration {
  /** Of the batch applied last. */
  readonly revision: Revision;
  readonly env: NodeEnv;
  readonly revocations: Pick<LiveRevocations, "ruleCount" | "tokenCount">;
  /** What was used; whoever hands it in takes it. */
  readonly uses: UsedLog;
  /** Whether `loadBodyVariables` must run before `match`. */
  readonly needsBody: boolean;
  /** How many records of each kind are served. */
  readonly counts: Readonly<Partial<Record<KindName, number>>>;
  readonly problemCount: number;
  /**
   * Takes a batch in one turn: no request sees a part of it.
   * @param table of every key the newest value that was not refused: without what this batch deletes, and with what it
   *   puts once `apply` has returned
   * @returns store keys whose new value was not taken; undefined when all were
   */
  apply(batch: LiveBatch, table: PackedRecords): readonly string[] | undefined;
  /** The bytes of a deleted record go. @param taken what was taken of it, if anything was */
  forget(storeKey: string, taken: PackedRecord | undefined): void;
  /**
   * The route for a request; sets `view.uriParams`, not `view.route`.
   * @param path other than `view.path` only under match_uri_encoded_slash
   */
  match(view: RequestView, path?: string): RouteMatch | undefined;
  /** What `match` looks at, in its order, and why each is not it; for explanations. */
  tried(view: RequestView, path?: string): IterableIterator<Tried>;
  /** All global rules as one. @param route the unit that matched, if one did */
  globalPipeline(route: Route | undefined): Pipeline;
  route(id: string): Route | undefined;
  upstream(id: string): UpstreamChoice;
  problems(): readonly Problem[];
  /** The newest problems by which a record was not taken, or refuses requests. */
  refusals(): readonly Problem[];
  /** What upstreams show under this id, or why there is nothing. */
  clientCertificate(id: string): CertificatePair | string;
  ssls(): IterableIterator<[string, StoredValue]>;
  onSslChange(listener: SslListener): () => void;
  /** Gives back everything counted; for the end of the process. */
  close(): void;
}

export function openLive(options: LiveOptions): LiveConfiguration {
  const { registry, log, clock, prefix = "/apisix" } = options;
  const secrets = new SecretUsers(options.secrets);
  const problems = openProblems(log, clock);
  const ssls = openSsls();
  const certificates = openClientCertificates({
    secrets,
    changed: (id) => certificateChanged(id, slots),
    report(id, problem) {
      const key = keyOf(prefix, "ssl", id);
      if (problem === undefined) problems.clear(key, "client certificate");
      else problems.set(key, "client certificate", revision, problem);
    },
  });
  const upstreams = new Map<string, UpstreamSlot>();
  let revision: Revision = 0n;

  const slots: UpstreamSlotHost = {
    upstreams: options.upstreams,
    byCertificate: new Map(),
    report(key, problem) {
      if (problem === undefined) problems.clear(key, "upstream");
      else problems.set(key, "upstream", revision, problem);
    },
  };
  const keyOfResource = ({ kind, id }: ResourceInfo): string => `${dirOf(prefix, kind)}${id}`;
  const upstreamById = (id: string): UpstreamChoice => upstreams.get(id)?.choose() ?? MISSING_UPSTREAM;
  const { keepRevokedMs: keepMs = 600_000 } = options;
  const endings =
    options.revoking &&
    openTokenEndings({
      ...{ ...options.revoking, prefix, clock },
      count: () => revocations.tokenCount,
      written: (key, batch) => void revocations.apply(key, batch),
      settled(error) {
        if (error === undefined) problems.clear(revocationsDir(prefix), "revocation");
        else if (isCodedError(error, "STORE_DENIED"))
          problems.set(revocationsDir(prefix), "revocation", revision, `${messageOf(error)}: ${REVOKING_CURE}`);
      },
    });
  const { metrics } = options;
  const revocations: LiveRevocations = openRevocations({ prefix, clock, metrics, keepMs, end: endings?.end });
  const uses = options.notesUses
    ? openUsedLog(clock, (consumer, id) => consumers.createdOf(consumer, id))
    : NO_USED_LOG;
  const node = openPluginEnvironment(
    { ...options, tokens: options.issuers },
    registry,
    revocations,
    uses,
    () => consumers,
  );
  const host: PluginHost = {
    registry,
    env: node.env,
    secrets,
    mayBeMissing: (plugin) => options.mayBeMissing?.has(plugin) === true,
    metadataVersion: node.metadataVersion,
    failed(resource, plugin, reason) {
      problems.set(keyOfResource(resource), `plugin ${plugin}`, revision, `plugin ${plugin}: ${reason}`);
    },
    upstream(choice, resource, place) {
      const { upstreamId } = choice;
      if (upstreamId !== undefined) return { choose: () => upstreamById(upstreamId), close: () => undefined };
      if (choice.upstream === undefined) return { choose: () => NO_UPSTREAM, close: () => undefined };
      const key = keyOfResource(resource);
      const ids = { key: `${key}/${place}`, id: "", name: "" };
      // True: the plugin's schema says that it is an upstream.
      return new UpstreamSlot(choice.upstream as StoredValue, ids, key, slots);
    },
  };
  const judge: VerdictChecks = {
    registry,
    upstreamError: (record) => options.upstreams.errorOf(record),
    decrypt: options.decrypt,
  };
  const taken = new TakenRecords();
  /** What was taken once is taken again. */
  const readAgain = (storeKey: string, bytes: Buffer | undefined): StoredValue => {
    const key = parseKey(prefix, storeKey);
    const read = key && bytes && openRecord(key, bytes, judge);
    if (!read?.ok) throw new TypeError(`${storeKey} was taken, and now is not what it was`);
    return read.value;
  };
  const consumers = new Consumers({
    registry,
    host,
    credentials: { env: node.env, secrets, problems },
    taken,
    dir: dirOf(prefix, "consumer"),
    read: readAgain,
  });
  const routes = openRoutes({
    mode: options.mode ?? "radixtree_host_uri",
    host,
    slots,
    upstreamById,
    setAside: (kv) => taken.add(kv.key, kv),
    read(id) {
      const storeKey = keyOf(prefix, "route", id);
      return { storeKey, value: readAgain(storeKey, taken.get(storeKey)?.value) };
    },
  });
  const globalRules = openGlobalRules({ host, problems });
  const signing = openSigningRecords(options.servers, secrets, (id, problem) => {
    const key = keyOf(prefix, "signing_key", id);
    if (problem === undefined) problems.clear(key, "signing key");
    else problems.set(key, "signing key", revision, problem);
  });
  const kinds = openKinds({
    routes,
    consumers,
    globalRules,
    upstreams,
    ssls,
    certificates,
    secrets,
    node,
    slots,
    registry,
    issuers: options.issuers,
    signing,
  });

  /** @returns why the record is refused */
  const put = (key: RecordKey, kv: KeyValue): string | undefined => {
    const read = verdictOn(key, kv.value, judge);
    if (!read.ok) return read.problem;
    const { value } = read;
    const commit = kinds[key.kind]?.prepare(key, value, kv) ?? (() => undefined);
    if (typeof commit === "string") return commit;
    // Whatever was wrong is said anew by what is taken in; upstreams speak for themselves.
    problems.clearAll(kv.key, "upstream");
    commit();
    for (const { plugin, reason, blocks } of missingPlugins(key.kind, value["plugins"], host)) {
      problems.set(kv.key, `missing ${plugin}`, kv.modRevision, reason, blocks);
    }
    return undefined;
  };
  /** @returns whether it was refused */
  const takeRevocation = (storeKey: string, kv: KeyValue | undefined): boolean => {
    const problem = revocations.apply(storeKey, kv?.value);
    if (problem === undefined) problems.clearAll(storeKey);
    else problems.set(storeKey, "record", kv?.modRevision ?? revision, problem);
    return problem !== undefined;
  };
  const take = (key: RecordKey, kv: KeyValue): string | undefined => {
    try {
      return put(key, kv);
    } catch (error) {
      return messageOf(error); // a plugin's check or the decryption threw: this record's problem, nobody else's
    }
  };

  return {
    get revision() {
      return revision;
    },
    env: node.env,
    revocations,
    uses,
    get needsBody() {
      return routes.needsBody;
    },
    get counts() {
      return {
        ...routes.counts,
        upstream: upstreams.size,
        consumer: consumers.consumerCount,
        credential: consumers.credentialCount,
        consumer_group: consumers.groupCount,
        global_rule: globalRules.count,
        plugin_metadata: node.metadataCount,
        ssl: ssls.count,
        token_issuer: options.issuers?.count ?? 0,
        authorization_server: options.servers?.serverCount ?? 0,
        signing_key: options.servers?.keyCount ?? 0,
      };
    },
    get problemCount() {
      return problems.count;
    },
    apply(batch, table) {
      revision = batch.revision;
      const refused: string[] = [];
      taken.begin(table);
      for (const { key: storeKey, kv } of batch.changes) {
        if (revocations.owns(storeKey)) {
          if (takeRevocation(storeKey, kv)) refused.push(storeKey);
          continue;
        }
        const key = parseKey(prefix, storeKey);
        if (!key) continue;
        if (kv === undefined) {
          kinds[key.kind]?.remove(key);
          problems.clearAll(storeKey);
          continue;
        }
        if (isPlaceholder(kv.value)) {
          if (table.get(storeKey) !== undefined) refused.push(storeKey); // what it stands over goes on serving
          continue;
        }
        revision = kv.modRevision; // of what is said of this record
        const problem = take(key, kv);
        if (problem === undefined) continue;
        const blocks = kinds[key.kind]?.refused?.(key, kv) === true;
        problems.set(
          storeKey,
          "record",
          kv.modRevision,
          blocks ? `${problem}${key.kind === "ssl" ? CLOSES : BLOCKS}` : problem,
          blocks,
        );
        refused.push(storeKey);
      }
      taken.end();
      return refused.length === 0 ? undefined : refused;
    },
    forget(storeKey, record) {
      const key = parseKey(prefix, storeKey);
      if (record && (key?.kind === "consumer" || key?.kind === "credential")) consumers.forget(key.id, record.value);
    },
    match: (view, path) => routes.match(view, path),
    tried: (view, path) => routes.tried(view, path),
    // Units that live gives out are RouteUnits; others know nothing of global rules.
    globalPipeline: (route) => globalRules.pipeline(route instanceof RouteUnit ? route : undefined),
    route: (id) => routes.unit(id),
    upstream: upstreamById,
    problems: () => problems.list(),
    refusals: () => problems.refusals(),
    clientCertificate: (id) => certificates.find(id),
    ssls: () => ssls.entries(),
    onSslChange: (listener) => ssls.onChange(listener),
    close() {
      routes.close();
      consumers.close();
      globalRules.close();
      for (const slot of upstreams.values()) slot.close();
      secrets.close();
      revocations.close();
      uses.close();
    },
  };
}

const REVOKING_CURE =
  "clients cannot revoke tokens here (503): give the etcd user of this node readwrite on this directory";
const BLOCKS = "; nothing older serves, so requests in its scope are answered 503 until it is repaired or deleted";
const CLOSES = "; nothing older serves, so its names are closed until it is repaired or deleted";
