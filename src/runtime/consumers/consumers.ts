/**
 * Consumers, their credentials and their groups.
 * Promise: a changed consumer is another object, and so are its credentials; a change touches that consumer only, a
 * group none of its members. A consumer that nobody has asked for is dormant: its records are bytes, no objects.
 */
import { BigMap } from "../../base/packed/big-map.ts";
import { credentialId } from "../../model/keys.ts";
import type { StoredRecord, StoredValue } from "../../model/record.ts";
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import { DormantRecords, type PluginKey } from "../dormant-records.ts";
import { isForeignCredential } from "../plugins/blocking-plugin.ts";
import { consumerPlugins, mergePlugins } from "../plugins/pipeline.ts";
import { metaOf, type PluginRegistry } from "../plugins/plugin-registry.ts";
import {
  NO_PLUGINS,
  openPluginSet,
  type PluginHost,
  type PluginSet,
  replacePluginSet,
} from "../plugins/plugin-unit.ts";
import { referencesIn } from "../plugins/secret-source.ts";
import { type DormantCredentials, PluginCredentials } from "./credential-table.ts";
import type { CredentialConf, CredentialHandle, CredentialHost, CredentialRecord } from "./credential-unit.ts";

/** What a consumer and its group lay over a route; the same object as long as neither has changed. */
export type Overlay = PluginSet;

const NO_LABELS: Readonly<Record<string, string>> = Object.freeze({});

/** A consumer group; a changed one is another object. */
class Group {
  readonly plugins: PluginSet;
  /** For members that bring nothing of their own. */
  readonly overlay: Overlay | undefined;

  constructor(plugins: PluginSet) {
    this.plugins = plugins;
    this.overlay = consumerPlugins(plugins);
  }
}

export class ConsumerUnit implements Consumer {
  readonly username: string;
  readonly groupId: string | undefined;
  readonly customId: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly plugins: PluginSet;
  /** What it put into credential tables. */
  handles: Handles;
  readonly #groups: ReadonlyMap<string, Group>;
  /** The group `#overlay` was made with. */
  #madeWith: Group | undefined;
  #overlay: Overlay | undefined;

  constructor(username: string, value: StoredValue, plugins: PluginSet, groups: ReadonlyMap<string, Group>) {
    const labels = value["labels"] as Readonly<Record<string, string>> | undefined; // by the schema
    const groupId = value["group_id"];
    this.username = username;
    this.groupId = groupId === undefined ? undefined : String(groupId);
    this.labels = labels ?? NO_LABELS;
    this.customId = labels?.["custom_id"];
    this.plugins = plugins;
    this.#groups = groups;
    this.#overlay = this.groupId === undefined ? consumerPlugins(plugins) : undefined;
  }

  /** @returns undefined when it brings nothing that would run */
  overlay(): Overlay | undefined | "group_missing" {
    if (this.groupId === undefined) return this.#overlay;
    const group = this.#groups.get(this.groupId);
    if (!group) return "group_missing";
    if (this.plugins.length === 0) return group.overlay;
    if (this.#madeWith !== group) {
      this.#overlay = consumerPlugins(mergePlugins([group.plugins, this.plugins]));
      this.#madeWith = group;
    }
    return this.#overlay;
  }
}

/** Nearly all records have one credential or none, so that one needs no list. */
type Handles = undefined | CredentialHandle | readonly CredentialHandle[];

/** A credential record; without effect while its consumer is missing. */
interface CredentialEntry {
  readonly id: string;
  readonly record: CredentialRecord;
  readonly auth: Auth;
  handles: Handles;
}

type Auth = readonly (readonly [plugin: string, conf: CredentialConf])[];

export interface Consumers {
  readonly consumerCount: number;
  readonly credentialCount: number;
  readonly groupCount: number;
  find(username: string): ConsumerUnit | undefined;
  /** The same object every time. */
  table(plugin: string): PluginCredentials;
  /** @param value has passed the checks for consumers, credentials, groups @param bytes what it was read from */
  putConsumer(username: string, value: StoredValue, record: CredentialRecord, bytes: Buffer): void;
  deleteConsumer(username: string): void;
  putCredential(username: string, id: string, value: StoredValue, record: CredentialRecord, bytes: Buffer): void;
  deleteCredential(username: string, id: string): void;
  putGroup(id: string, value: StoredValue): void;
  deleteGroup(id: string): void;
  /** A record under /secrets changed: what it resolved is asked for again. */
  secretChanged(id: string): void;
  close(): void;
}

export interface ConsumersInput {
  readonly registry: PluginRegistry;
  readonly host: PluginHost;
  readonly credentials: CredentialHost;
  /** Reads a record again that was taken before. @param id `jack` or `jack/credentials/c1` */
  read(id: string, bytes: Buffer): StoredRecord;
}

/** @returns why a credential record cannot be taken beyond its schema and its plugin's */
export function credentialError(value: StoredValue, registry: PluginRegistry): string | undefined {
  for (const name of Object.keys((value["plugins"] ?? {}) as object)) {
    const plugin = registry.get(name);
    if (plugin && !plugin.credential) return `only supports auth type plugins in consumer credential, not ${name}`;
  }
  return undefined;
}

export function openConsumers(input: ConsumersInput): Consumers {
  const { registry, host } = input;
  const tables = new Map<string, PluginCredentials>();
  const consumers = new BigMap<ConsumerUnit>();
  const groups = new Map<string, Group>();
  /** Username → id → entry. */
  const credentials = new Map<string, Map<string, CredentialEntry>>();
  let credentialCount = 0;

  const table = (plugin: string): PluginCredentials => {
    let found = tables.get(plugin);
    if (!found) {
      found = new PluginCredentials(plugin, registry.get(plugin)?.credential, input.credentials, dormantCredentials);
      tables.set(plugin, found);
    }
    return found;
  };

  const attach = (consumer: Consumer, id: string | undefined, record: CredentialRecord, auth: Auth): Handles => {
    const handles = auth.flatMap(([plugin, conf]) => table(plugin).add(consumer, id, record, conf) ?? []);
    return handles.length <= 1 ? handles[0] : handles;
  };
  const detach = (handles: Handles): void => {
    if (handles === undefined) return;
    if ("remove" in handles) handles.remove();
    else for (const handle of handles) handle.remove();
  };

  const readPlugins = (plugins: unknown): { readonly auth: Auth; readonly others: Record<string, unknown> } => {
    const auth: [string, CredentialConf][] = [];
    const others: Record<string, unknown> = {};
    for (const [name, conf] of Object.entries((plugins ?? {}) as Record<string, CredentialConf>)) {
      if (isForeignCredential(name) && !registry.get(name)) continue;
      if (!registry.get(name)?.credential) others[name] = conf;
      else if (metaOf(conf)["disable"] !== true) auth.push([name, conf]);
    }
    return { auth, others };
  };

  /** The keys that its record is found by; undefined where the table must know more of it than its bytes. */
  const dormantKeys = (auth: Auth): readonly PluginKey[] | undefined => {
    const keys: PluginKey[] = [];
    for (const [plugin, conf] of auth) {
      const key = conf[registry.get(plugin)?.credential?.keyAttribute ?? ""];
      if (typeof key !== "string" || key === "" || referencesIn(conf).length > 0) return undefined;
      keys.push([plugin, key]);
    }
    return keys;
  };
  const dormant = new DormantRecords(
    (id, bytes) => dormantKeys(readPlugins(input.read(id, bytes).value["plugins"]).auth) ?? [],
  );
  const isAwake = (username: string): boolean => consumers.has(username) || credentials.has(username);
  /** @returns whether it is dormant now: nobody has asked for its consumer, and nobody else has its keys */
  const layDown = (username: string, id: string, record: CredentialRecord, auth: Auth, bytes: Buffer): boolean => {
    if (isAwake(username)) return false;
    const keys = dormantKeys(auth);
    if (!keys?.every(([plugin, key]) => table(plugin).isFree(key))) return false;
    const { modRevision, order } = record;
    dormant.put({ id, value: bytes, modRevision, createRevision: BigInt(order) }, keys);
    return true;
  };
  const wake = (username: string): void => {
    for (const { id, value: bytes, modRevision, createRevision } of dormant.takeAllOf(username)) {
      const { storeKey, value } = input.read(id, bytes);
      const record = { key: storeKey, modRevision, order: Number(createRevision) };
      if (id === username) enterConsumer(username, value, record);
      else enterCredential(username, id.slice(id.lastIndexOf("/") + 1), record, readPlugins(value["plugins"]).auth);
    }
  };
  const dormantCredentials: DormantCredentials = {
    countOf: (plugin) => dormant.countOf(plugin),
    has: (plugin, key) => dormant.ownerByKey(plugin, key) !== undefined,
    wake(plugin, key) {
      for (;;) {
        const username = dormant.ownerByKey(plugin, key);
        if (username === undefined) return;
        wake(username);
      }
    },
  };
  const find = (username: string): ConsumerUnit | undefined => {
    const found = consumers.get(username);
    if (found !== undefined || dormant.consumerCount === 0) return found;
    wake(username);
    return consumers.get(username);
  };

  const removeConsumer = (username: string, next: ConsumerUnit | undefined): void => {
    const before = consumers.get(username);
    if (!before) return;
    consumers.delete(username);
    detach(before.handles);
    for (const entry of credentials.get(username)?.values() ?? []) {
      detach(entry.handles);
      entry.handles = undefined;
    }
    replacePluginSet(before.plugins, next?.plugins ?? NO_PLUGINS);
  };

  const removeCredential = (username: string, id: string): void => {
    const mine = credentials.get(username);
    const before = mine?.get(id);
    if (!mine || !before) return;
    detach(before.handles);
    mine.delete(id);
    credentialCount--;
    if (mine.size === 0) credentials.delete(username);
  };

  const enterConsumer = (username: string, value: StoredValue, record: CredentialRecord): void => {
    const { auth, others } = readPlugins(value["plugins"]);
    const plugins = openPluginSet(others, { kind: "consumer", id: username }, host);
    const consumer = new ConsumerUnit(username, value, plugins, groups);
    removeConsumer(username, consumer);
    consumers.set(username, consumer);
    consumer.handles = attach(consumer, undefined, record, auth);
    for (const entry of credentials.get(username)?.values() ?? []) {
      entry.handles = attach(consumer, entry.id, entry.record, entry.auth);
    }
  };
  const enterCredential = (username: string, id: string, record: CredentialRecord, auth: Auth): void => {
    removeCredential(username, id);
    const consumer = consumers.get(username);
    const handles = consumer ? attach(consumer, id, record, auth) : undefined;
    const mine = credentials.get(username) ?? new Map<string, CredentialEntry>();
    credentials.set(username, mine);
    mine.set(id, { id, record, auth, handles });
    credentialCount++;
  };

  const setGroup = (id: string, next: Group | undefined): void => {
    const before = groups.get(id);
    if (next) groups.set(id, next);
    else groups.delete(id);
    if (before) replacePluginSet(before.plugins, next?.plugins ?? NO_PLUGINS);
  };

  return {
    get consumerCount() {
      return consumers.size + dormant.consumerCount;
    },
    get credentialCount() {
      return credentialCount + dormant.credentialCount;
    },
    get groupCount() {
      return groups.size;
    },
    find,
    table,
    putConsumer(username, value, record, bytes) {
      dormant.take(username);
      const { auth } = readPlugins(value["plugins"]);
      if (layDown(username, username, record, auth, bytes)) return;
      wake(username);
      enterConsumer(username, value, record);
    },
    deleteConsumer(username) {
      if (!dormant.take(username)) removeConsumer(username, undefined);
    },
    putCredential(username, id, value, record, bytes) {
      const whole = credentialId(username, id);
      dormant.take(whole);
      const { auth } = readPlugins(value["plugins"]);
      if (layDown(username, whole, record, auth, bytes)) return;
      wake(username);
      enterCredential(username, id, record, auth);
    },
    deleteCredential(username, id) {
      if (!dormant.take(credentialId(username, id))) removeCredential(username, id);
    },
    putGroup(id, value) {
      setGroup(id, new Group(openPluginSet(value["plugins"], { kind: "consumer_group", id }, host)));
    },
    deleteGroup: (id) => setGroup(id, undefined),
    secretChanged(id) {
      for (const one of tables.values()) one.secretChanged(id);
    },
    close() {
      for (const consumer of consumers.values()) for (const unit of consumer.plugins) unit.close();
      for (const group of groups.values()) for (const unit of group.plugins) unit.close();
    },
  };
}
