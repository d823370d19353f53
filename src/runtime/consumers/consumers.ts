/**
 * Consumers, their credentials and their groups.
 * Promise: a changed consumer is another object, and so are its credentials; a change touches that consumer only, a
 * group none of its members. A consumer that nobody has asked for is dormant: its records are bytes, no objects.
 */
import { BigMap } from "../../base/packed/big-map.ts";
import type { PackedRecord } from "../../base/packed/packed-map.ts";
import { credentialId } from "../../model/keys.ts";
import type { StoredValue } from "../../model/record.ts";
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import { isForeignCredential } from "../plugins/blocking-plugin.ts";
import { metaOf, type PluginRegistry } from "../plugins/plugin-registry.ts";
import { NO_PLUGINS, openPluginSet, type PluginHost, replacePluginSet } from "../plugins/plugin-unit.ts";
import { referencesIn } from "../plugins/secret-source.ts";
import type { TakenRecords } from "../taken-records.ts";
import {
  ConsumerGroup,
  ConsumerUnit,
  type CredentialConf,
  type CredentialHost,
  type CredentialRecord,
  type CredentialUnit,
  detach,
  type Handles,
} from "./consumer-unit.ts";
import { type DormantCredentials, PluginCredentials } from "./credential-table.ts";
import { CUSTOM_ID, CustomIds, customIdKeys } from "./custom-ids.ts";
import { DormantConsumers, type PluginKey } from "./dormant-consumers.ts";

type Auth = readonly (readonly [plugin: string, conf: CredentialConf])[];

/** A credential record; without effect while its consumer is missing. */
interface CredentialEntry {
  readonly id: string;
  readonly record: CredentialRecord;
  readonly auth: Auth;
  handles: Handles;
}

/** A record as the store has it, under its store key. */
type ConsumerRecord = PackedRecord & { readonly key: string };

interface ConsumersInput {
  readonly registry: PluginRegistry;
  readonly host: PluginHost;
  readonly credentials: CredentialHost;
  readonly taken: TakenRecords;
  /** The directory of consumers, with its closing slash. */
  readonly dir: string;
  /** Reads a record again that was taken before. */
  read(storeKey: string, bytes: Buffer): StoredValue;
}

export class Consumers {
  readonly #input: ConsumersInput;
  readonly #tables = new Map<string, PluginCredentials>();
  readonly #active = new BigMap<ConsumerUnit>();
  readonly #customIds = new CustomIds();
  readonly #groups = new Map<string, ConsumerGroup>();
  /** Of active consumers. Username → id → entry. */
  readonly #credentials = new Map<string, Map<string, CredentialEntry>>();
  #credentialCount = 0;
  readonly #dormant: DormantConsumers;
  readonly #dormantCredentials: DormantCredentials;

  constructor(input: ConsumersInput) {
    this.#input = input;
    this.#dormant = new DormantConsumers({
      records: input.taken,
      dir: input.dir,
      read: input.read,
      keysIn: (value) => this.#dormantKeys(value) ?? [],
    });
    this.#dormantCredentials = {
      countOf: (plugin) => this.#dormant.countOf(plugin),
      has: (plugin, key) => this.#dormant.ownerByKey(plugin, key) !== undefined,
      activate: (plugin, key) => this.#activateByKey(plugin, key),
    };
  }

  get consumerCount(): number {
    return this.#active.size + this.#dormant.consumerCount;
  }

  get credentialCount(): number {
    return this.#credentialCount + this.#dormant.credentialCount;
  }

  get groupCount(): number {
    return this.#groups.size;
  }

  find(username: string): ConsumerUnit | undefined {
    const found = this.#active.get(username);
    if (found !== undefined || this.#dormant.consumerCount === 0) return found;
    this.#materialise(username);
    return this.#active.get(username);
  }

  /** The only one with this label; undefined where several have it. */
  findByCustomId(customId: string): Consumer | undefined {
    this.#activateByKey(CUSTOM_ID, customId);
    return this.#customIds.find(customId);
  }

  /** Create revision of the record of an active consumer, or of a credential of it; undefined: there is none. */
  createdOf(username: string, id: string | undefined): number | undefined {
    if (id === undefined) return this.#active.get(username)?.created;
    return this.#credentials.get(username)?.get(id)?.record.order;
  }

  /** The same object every time. */
  table(plugin: string): PluginCredentials {
    let found = this.#tables.get(plugin);
    if (!found) {
      const { registry, credentials } = this.#input;
      found = new PluginCredentials(plugin, registry.get(plugin)?.credential, credentials, this.#dormantCredentials);
      this.#tables.set(plugin, found);
    }
    return found;
  }

  /** Those that look-ups find; cost: all that the consumer has. */
  credentialsOf(plugin: string, username: string): readonly CredentialUnit[] {
    const table = this.table(plugin);
    const own = this.find(username)?.handles; // wakes what is dormant
    const entries = this.#credentials.get(username)?.values() ?? [];
    return [own, ...[...entries].map(({ handles }) => handles)]
      .flatMap((handles) => handles ?? [])
      .flatMap((handle) => (handle.plugin === plugin && handle.unit) || [])
      .filter((unit) => table.get(unit.key) === unit);
  }

  /** @param value has passed the checks for consumers; so for credentials and groups below */
  putConsumer(username: string, value: StoredValue, record: ConsumerRecord): void {
    if (!this.#isActive(username)) this.#dormant.take(username);
    if (this.#storeDormant(username, username, value, record)) return;
    this.#materialise(username);
    this.#activateConsumer(username, value, credentialRecord(record));
  }

  /** What is dormant is not held any more, and so found by nobody; so for credentials below. */
  deleteConsumer(username: string): void {
    this.#removeConsumer(username, undefined);
  }

  putCredential(username: string, id: string, value: StoredValue, record: ConsumerRecord): void {
    const whole = credentialId(username, id);
    if (!this.#isActive(username)) this.#dormant.take(whole);
    if (this.#storeDormant(username, whole, value, record)) return;
    this.#materialise(username);
    const { auth } = this.#readPlugins(value["plugins"]);
    this.#activateCredential(username, id, credentialRecord(record), auth);
  }

  deleteCredential(username: string, id: string): void {
    this.#removeCredential(username, id);
  }

  /** @param id of a deleted record, as `RecordKey.id` has it @param bytes what was taken of it */
  forget(id: string, bytes: Buffer): void {
    this.#dormant.forget(id, bytes);
  }

  putGroup(id: string, value: StoredValue): void {
    const plugins = openPluginSet(value["plugins"], { kind: "consumer_group", id }, this.#input.host);
    this.#setGroup(id, new ConsumerGroup(plugins));
  }

  deleteGroup(id: string): void {
    this.#setGroup(id, undefined);
  }

  /** A record under /secrets changed: what it resolved is asked for again. */
  secretChanged(id: string): void {
    for (const one of this.#tables.values()) one.secretChanged(id);
  }

  close(): void {
    for (const consumer of this.#active.values()) for (const unit of consumer.plugins) unit.close();
    for (const group of this.#groups.values()) for (const unit of group.plugins) unit.close();
  }

  /** Somebody has asked for the consumer, or must be told of its keys: none of its records is dormant. */
  #isActive(username: string): boolean {
    return this.#active.has(username) || this.#credentials.has(username);
  }

  /** @returns whether it is dormant now: nobody has asked for its consumer, and nobody else has its keys */
  #storeDormant(username: string, id: string, value: StoredValue, record: ConsumerRecord): boolean {
    if (this.#isActive(username)) return false;
    const keys = this.#dormantKeys(value);
    if (!keys?.every(([plugin, key]) => this.#isFree(plugin, key))) return false;
    this.#input.taken.add(record.key, record);
    this.#dormant.add(id, keys);
    return true;
  }

  #isFree(plugin: string, key: string): boolean {
    if (plugin !== CUSTOM_ID) return this.table(plugin).isFree(key);
    return !this.#customIds.has(key) && !this.#dormantCredentials.has(plugin, key);
  }

  /** Makes objects of all dormant records of a consumer. */
  #materialise(username: string): void {
    if (this.#isActive(username)) return;
    for (const { storeKey, id, value, modRevision, createRevision } of this.#dormant.takeAllOf(username)) {
      const record = { key: storeKey, modRevision, order: Number(createRevision) };
      if (id === username) {
        this.#activateConsumer(username, value, record);
        continue;
      }
      const { auth } = this.#readPlugins(value["plugins"]);
      this.#activateCredential(username, id.slice(id.lastIndexOf("/") + 1), record, auth);
    }
  }

  #activateByKey(plugin: string, key: string): void {
    for (;;) {
      const username = this.#dormant.ownerByKey(plugin, key);
      if (username === undefined || this.#isActive(username)) return;
      this.#materialise(username);
    }
  }

  #activateConsumer(username: string, value: StoredValue, record: CredentialRecord): void {
    const { auth, others } = this.#readPlugins(value["plugins"]);
    const plugins = openPluginSet(others, { kind: "consumer", id: username }, this.#input.host);
    const consumer = new ConsumerUnit(username, value, plugins, this.#groups, record.order);
    this.#removeConsumer(username, consumer);
    this.#active.set(username, consumer);
    this.#customIds.add(consumer);
    consumer.handles = this.#attach(consumer, undefined, record, auth);
    for (const entry of this.#credentials.get(username)?.values() ?? []) {
      entry.handles = this.#attach(consumer, entry.id, entry.record, entry.auth);
    }
  }

  #activateCredential(username: string, id: string, record: CredentialRecord, auth: Auth): void {
    this.#removeCredential(username, id);
    const consumer = this.#active.get(username);
    const handles = consumer ? this.#attach(consumer, id, record, auth) : undefined;
    const mine = this.#credentials.get(username) ?? new Map<string, CredentialEntry>();
    this.#credentials.set(username, mine);
    mine.set(id, { id, record, auth, handles });
    this.#credentialCount++;
  }

  #removeConsumer(username: string, next: ConsumerUnit | undefined): void {
    const before = this.#active.get(username);
    if (!before) return;
    this.#active.delete(username);
    this.#customIds.remove(before);
    detach(before.handles);
    for (const entry of this.#credentials.get(username)?.values() ?? []) {
      detach(entry.handles);
      entry.handles = undefined;
    }
    replacePluginSet(before.plugins, next?.plugins ?? NO_PLUGINS);
  }

  #removeCredential(username: string, id: string): void {
    const mine = this.#credentials.get(username);
    const before = mine?.get(id);
    if (!mine || !before) return;
    detach(before.handles);
    mine.delete(id);
    this.#credentialCount--;
    if (mine.size === 0) this.#credentials.delete(username);
  }

  #setGroup(id: string, next: ConsumerGroup | undefined): void {
    const before = this.#groups.get(id);
    if (next) this.#groups.set(id, next);
    else this.#groups.delete(id);
    if (before) replacePluginSet(before.plugins, next?.plugins ?? NO_PLUGINS);
  }

  #attach(consumer: Consumer, id: string | undefined, record: CredentialRecord, auth: Auth): Handles {
    const handles = auth.flatMap(([plugin, conf]) => this.table(plugin).add(consumer, id, record, conf) ?? []);
    return handles.length <= 1 ? handles[0] : handles;
  }

  #readPlugins(plugins: unknown): { readonly auth: Auth; readonly others: Record<string, unknown> } {
    const { registry } = this.#input;
    const auth: [string, CredentialConf][] = [];
    const others: Record<string, unknown> = {};
    for (const [name, conf] of Object.entries((plugins ?? {}) as Record<string, CredentialConf>)) {
      if (isForeignCredential(name) && !registry.has(name)) continue;
      if (!registry.get(name)?.credential) others[name] = conf;
      else if (metaOf(conf)["disable"] !== true) auth.push([name, conf]);
    }
    return { auth, others };
  }

  /** The keys that its record is found by; undefined where the table must know more of it than its bytes. */
  #dormantKeys(value: StoredValue): readonly PluginKey[] | undefined {
    const keys: PluginKey[] = [...customIdKeys(value)];
    for (const [plugin, conf] of this.#readPlugins(value["plugins"]).auth) {
      const key = conf[this.#input.registry.get(plugin)?.credential?.keyAttribute ?? ""];
      if (typeof key !== "string" || key === "" || referencesIn(conf).length > 0) return undefined;
      keys.push([plugin, key]);
    }
    return keys;
  }
}

function credentialRecord({ key, modRevision, createRevision }: ConsumerRecord): CredentialRecord {
  return { key, modRevision, order: Number(createRevision) };
}
