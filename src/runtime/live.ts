/**
 * The configuration that requests are served by: what the records of the store mean, kept up to date change by change.
 * Promise: a batch is applied in one turn; a record that cannot be taken keeps its last good unit and is listed; the
 * cost of a change follows the change. Source: docs/spec/etcd-layout.md section 4.
 */
import { isCodedError, messageOf } from "../base/errors.ts";
import { dirOf, keyOf, parseKey, type RecordKey } from "../model/keys.ts";
import { isPlaceholder, type StoredValue } from "../model/record.ts";
import { revocationsDir } from "../model/revocation.ts";
import type { ResourceInfo } from "../plugin/plugin.ts";
import type { KeyValue, Revision } from "../store/store.ts";
import { openClientCertificates, openSsls } from "./certificates.ts";
import { onceDir, openClusterOnce } from "./cluster-once.ts";
import { Consumers } from "./consumers/consumers.ts";
import type { LiveConfiguration, LiveOptions } from "./live-configuration.ts";
import { openKinds } from "./live-kinds.ts";
import { openPluginEnvironment } from "./plugins/plugin-environment.ts";
import type { PluginHost } from "./plugins/plugin-unit.ts";
import { SecretUsers } from "./plugins/secret-source.ts";
import { openProblems } from "./problems.ts";
import { missingPlugins } from "./record-checks.ts";
import { openRecord, type VerdictChecks, verdictOn } from "./record-verdict.ts";
import { type LiveRevocations, openRevocations } from "./revocation/live-revocations.ts";
import { openTokenEndings } from "./revocation/token-endings.ts";
import { openGlobalRules } from "./routes/global-rules.ts";
import { RouteUnit, type UpstreamChoice } from "./routes/route-unit.ts";
import { openRoutes } from "./routes/routes.ts";
import { openSigningRecords } from "./signing-records.ts";
import { TakenRecords } from "./taken-records.ts";
import {
  certificateChanged,
  MISSING_UPSTREAM,
  NO_UPSTREAM,
  UpstreamSlot,
  type UpstreamSlotHost,
} from "./upstream/upstream-slot.ts";
import { NO_USED_LOG, openUsedLog } from "./used-log.ts";

export function openLive(options: LiveOptions): LiveConfiguration {
  const { registry, log, clock, prefix = "/apisix" } = options;
  const secrets = new SecretUsers(options.secrets);
  const problems = openProblems(log, clock);
  const ssls = openSsls();
  const certificates = openClientCertificates({
    secrets,
    changed: (id) => certificateChanged(id, slots),
    revision: () => revision,
    report(id, problem, at) {
      const key = keyOf(prefix, "ssl", id);
      if (problem === undefined) problems.clear(key, "client certificate");
      else problems.set(key, "client certificate", at, problem);
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
  const clusterOnce =
    options.revoking &&
    openClusterOnce({
      ...{ prefix, clock, store: options.revoking.store },
      settled(error) {
        if (error === undefined) problems.clear(onceDir(prefix), "once");
        else if (isCodedError(error, "STORE_DENIED"))
          problems.set(onceDir(prefix), "once", revision, `${messageOf(error)}: ${ONCE_CURE}`);
      },
    });
  const { metrics } = options;
  const revocations: LiveRevocations = openRevocations({ prefix, clock, metrics, keepMs, end: endings?.end });
  const uses = options.notesUses
    ? openUsedLog(clock, (consumer, id) => consumers.createdOf(consumer, id))
    : NO_USED_LOG;
  const node = openPluginEnvironment(
    { ...options, tokens: options.issuers, clusterOnce },
    registry,
    revocations,
    uses,
    () => consumers,
    (kind, id) => {
      const storeKey = keyOf(prefix, kind, id);
      const bytes = taken.get(storeKey)?.value;
      return bytes && readAgain(storeKey, bytes);
    },
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
    clientCertificatesSettled: () => certificates.settled(),
    clientCertificateRefusals: () => problems.refusals().filter(({ key }) => parseKey(prefix, key)?.kind === "ssl"),
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
const ONCE_CURE =
  "assertion_replay: cluster refuses clients here (503): give the etcd user of this node readwrite on this directory";
const BLOCKS = "; nothing older serves, so requests in its scope are answered 503 until it is repaired or deleted";
const CLOSES = "; nothing older serves, so its names are closed until it is repaired or deleted";
