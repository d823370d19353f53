/**
 * What each kind of record does to the live configuration when it comes and when it goes.
 */
import type { RecordKey } from "../model/keys.ts";
import type { KindName } from "../model/kinds.ts";
import type { StoredValue } from "../model/record.ts";
import type { Tokens } from "../plugin/tokens.ts";
import type { KeyValue } from "../store/store.ts";
import { type ClientCertificates, isRemnant, remnantOf, type Ssls } from "./certificates.ts";
import type { Consumers } from "./consumers/consumers.ts";
import type { PluginEnvironment } from "./plugins/plugin-environment.ts";
import type { PluginRegistry } from "./plugins/plugin-registry.ts";
import type { SecretUsers } from "./plugins/secret-source.ts";
import { matchPart, withoutId } from "./record-checks.ts";
import type { GlobalRules } from "./routes/global-rules.ts";
import type { Routes } from "./routes/routes.ts";
import type { SigningRecords } from "./signing-records.ts";
import { certificateChanged, UpstreamSlot, type UpstreamSlotHost } from "./upstream/upstream-slot.ts";

interface KindParts {
  readonly routes: Routes;
  readonly consumers: Consumers;
  readonly globalRules: GlobalRules;
  readonly upstreams: Map<string, UpstreamSlot>;
  readonly ssls: Ssls;
  readonly certificates: ClientCertificates;
  readonly secrets: SecretUsers;
  readonly node: PluginEnvironment;
  readonly slots: UpstreamSlotHost;
  readonly registry: PluginRegistry;
  readonly issuers: IssuerSink | undefined;
  readonly signing: SigningRecords;
}

interface KindHandler {
  /** @param value has passed all checks @returns what takes the record in, or why that cannot be after all */
  prepare(key: RecordKey, value: StoredValue, kv: KeyValue): (() => void) | string;
  remove(key: RecordKey): void;
  /** The record's new value was not taken. @returns whether requests are refused because of it */
  refused?(key: RecordKey, kv: KeyValue): boolean;
}

type KindHandlers = Readonly<Partial<Record<KindName, KindHandler>>>;

/** Kinds without a handler are listed in the store and mean nothing here. */
export function openKinds(parts: KindParts): KindHandlers {
  const { routes, consumers, globalRules, upstreams, ssls, certificates, secrets, node, slots, signing } = parts;
  const setMetadata = (plugin: string, value: StoredValue | undefined): void => {
    node.setMetadata(plugin, value);
    routes.invalidateAll();
    globalRules.invalidate();
  };
  const setSecret = (id: string, value: StoredValue | undefined): void => {
    secrets.setRecord(id, value);
    consumers.secretChanged(id);
  };
  const setSsl = (id: string, value: StoredValue | undefined): void => {
    certificates.set(id, value);
    ssls.set(id, value);
    certificateChanged(id, slots);
  };
  return {
    authorization_server: {
      prepare:
        ({ id }, value) =>
        () =>
          signing.setServer(id, value),
      remove: ({ id }) => signing.setServer(id, undefined),
    },
    signing_key: {
      prepare:
        ({ id }, value) =>
        () =>
          signing.setKey(id, value),
      remove: ({ id }) => signing.setKey(id, undefined),
    },
    route: {
      prepare: ({ id }, value, kv) => routes.prepareRoute(id, value, kv),
      remove: ({ id }) => routes.deleteRoute(id),
      refused(key, kv) {
        const match = matchPart(key, kv.value, parts.registry);
        return match !== undefined && routes.blockRoute(key.id, match, kv);
      },
    },
    service: {
      prepare: ({ id }, value, kv) => routes.prepareService(id, kv.key, value),
      remove: ({ id }) => routes.deleteService(id),
      refused: ({ id }) => routes.blockService(id),
    },
    plugin_config: {
      prepare:
        ({ id }, value) =>
        () =>
          routes.putPluginConfig(id, value),
      remove: ({ id }) => routes.deletePluginConfig(id),
    },
    upstream: {
      prepare: ({ id }, value, kv) => prepareUpstream(id, value, kv, parts),
      remove({ id }) {
        upstreams.get(id)?.close();
        upstreams.delete(id);
      },
    },
    consumer: {
      prepare:
        ({ id }, value, kv) =>
        () =>
          consumers.putConsumer(id, value, kv),
      remove: ({ id }) => consumers.deleteConsumer(id),
    },
    credential: {
      prepare:
        ({ consumer = "", credential = "" }, value, kv) =>
        () =>
          consumers.putCredential(consumer, credential, value, kv),
      remove: ({ consumer = "", credential = "" }) => consumers.deleteCredential(consumer, credential),
    },
    consumer_group: {
      prepare:
        ({ id }, value) =>
        () =>
          consumers.putGroup(id, value),
      remove: ({ id }) => consumers.deleteGroup(id),
    },
    global_rule: {
      prepare:
        ({ id }, value, kv) =>
        () =>
          globalRules.put(id, kv.key, value, kv.modRevision),
      remove: ({ id }) => globalRules.delete(id),
      refused: ({ id }, kv) => globalRules.block(id, kv.key, kv.modRevision),
    },
    plugin_metadata: {
      prepare:
        ({ id }, value) =>
        () =>
          setMetadata(id, withoutId(value)),
      remove: ({ id }) => setMetadata(id, undefined),
    },
    secret: {
      prepare:
        ({ id }, value) =>
        () =>
          setSecret(id, value),
      remove: ({ id }) => setSecret(id, undefined),
    },
    ssl: {
      prepare:
        ({ id }, value) =>
        () =>
          setSsl(id, value),
      remove: ({ id }) => setSsl(id, undefined),
      refused({ id }, kv) {
        const before = ssls.get(id);
        if (before && !isRemnant(before)) return false;
        const remnant = remnantOf(kv.value);
        ssls.set(id, remnant);
        return remnant !== undefined;
      },
    },
    token_issuer: {
      prepare:
        ({ id }, value) =>
        () =>
          parts.issuers?.setRecord(id, value),
      remove: ({ id }) => parts.issuers?.setRecord(id, undefined),
    },
  };
}

function prepareUpstream(id: string, value: StoredValue, kv: KeyValue, parts: KindParts): (() => void) | string {
  const name = typeof value["name"] === "string" ? value["name"] : "";
  const slot = new UpstreamSlot(value, { key: kv.key, id, name }, kv.key, parts.slots);
  const error = slot.compile();
  if (error !== undefined) return error;
  return () => {
    const before = parts.upstreams.get(id);
    parts.upstreams.set(id, slot);
    before?.close();
  };
}

/**
 * What keeps the issuers of tokens, as the live configuration sees it; floors of one height do not meet.
 */
export interface IssuerSink extends Tokens {
  readonly count: number;
  /** @param record has passed all checks; undefined: it is gone */
  setRecord(id: string, record: StoredValue | undefined): void;
}
