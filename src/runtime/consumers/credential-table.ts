/**
 * All credentials of one plugin on this node, by resolved key.
 * Promise: an unresolved reference never becomes a key; of two credentials with one key the earlier created wins, and
 * the other takes its place when it goes. A look-up is one Map look-up.
 */
import { BigMap } from "../../base/packed/big-map.ts";
import type { AnyCredential } from "../../plugin/plugin.ts";
import type { Consumer, CredentialTable } from "../../plugin/plugin-consumer.ts";
import { referencesIn } from "../plugins/secret-source.ts";
import {
  type CredentialConf,
  type CredentialHandle,
  type CredentialHost,
  type CredentialRecord,
  CredentialUnit,
} from "./consumer-unit.ts";
import { SecretCredential, type SecretTable } from "./secret-credential.ts";

/** Credentials that are not in any table, since nobody has asked for them. */
export interface DormantCredentials {
  countOf(plugin: string): number;
  has(plugin: string, key: string): boolean;
  /** Puts all that have this key, and whatever else their consumers have, into the tables. */
  activate(plugin: string, key: string): void;
}

/** Questions to secret managers at the same time. */
const RESOLVING_AT_ONCE = 16;

export class PluginCredentials implements CredentialTable, SecretTable {
  readonly plugin: string;
  readonly host: CredentialHost;
  readonly #definition: AnyCredential | undefined;
  readonly #dormant: DormantCredentials;
  /** Earliest first where one key has several. */
  readonly #byKey = new BigMap<CredentialUnit | CredentialUnit[]>();
  /** Those with references; few. */
  readonly #secrets = new Set<SecretCredential>();
  readonly #pending = new Set<SecretCredential>();
  #resolving: Promise<void> | undefined;
  #plain = 0;

  /** @param definition undefined for a plugin that is not loaded or authenticates nobody: its table stays empty */
  constructor(
    plugin: string,
    definition: AnyCredential | undefined,
    host: CredentialHost,
    dormantCredentials: DormantCredentials,
  ) {
    this.#dormant = dormantCredentials;
    this.plugin = plugin;
    this.host = host;
    this.#definition = definition;
  }

  get size(): number {
    return this.#plain + this.#secrets.size + this.#dormant.countOf(this.plugin);
  }

  get(key: string): CredentialUnit | undefined {
    const found = this.#byKey.get(key) ?? this.#activate(key);
    if (found === undefined) return undefined;
    const unit = Array.isArray(found) ? (found[0] as CredentialUnit) : found;
    return unit.state === "compiled" || this.#compile(unit) ? unit : undefined;
  }

  /** Whether nobody has this key, dormant or not. */
  isFree(key: string): boolean {
    return !this.#byKey.has(key) && !this.#dormant.has(this.plugin, key);
  }

  resolvePending(): Promise<void> | undefined {
    if (this.#resolving === undefined && this.#pending.size > 0) {
      this.#resolving = this.#resolveAll().finally(() => {
        this.#resolving = undefined;
      });
    }
    return this.#resolving;
  }

  /** @param conf has passed the registry's check. @returns undefined when the plugin has no credentials */
  add(
    consumer: Consumer,
    credentialId: string | undefined,
    record: CredentialRecord,
    conf: CredentialConf,
  ): CredentialHandle | undefined {
    const definition = this.#definition;
    if (!definition) return undefined;
    if (referencesIn(conf).length > 0) {
      const secret = new SecretCredential(this, { definition, consumer, credentialId, record, conf });
      this.#secrets.add(secret);
      secret.begin();
      return secret;
    }
    const unit = new PlainUnit(consumer, credentialId, record, String(conf[definition.keyAttribute] ?? ""), conf, this);
    this.#plain++;
    this.insert(unit);
    return unit;
  }

  /** What a manager's record ("vault/jwt") resolved is pending again. */
  secretChanged(id: string): void {
    for (const secret of this.#secrets) if (secret.restsOn(id)) secret.reset();
  }

  insert(unit: CredentialUnit): void {
    if (unit.key === "") return; // an empty key would be anybody's
    this.#dormant.activate(this.plugin, unit.key); // so that they settle who has it
    const found = this.#byKey.get(unit.key);
    if (found === undefined) {
      unit.current = true;
      this.#byKey.set(unit.key, unit);
      return;
    }
    const all = Array.isArray(found) ? found : [found];
    const [owner] = all;
    all.splice(placeOf(unit, all), 0, unit);
    this.#byKey.set(unit.key, all);
    if (owner === undefined || all[0] === owner) this.#setAside(unit, all);
    else {
      this.#setAside(owner, all);
      this.#found(unit);
    }
  }

  extract(unit: CredentialUnit): void {
    const { problems } = this.host;
    const wasFound = unit.current;
    unit.current = false;
    if (unit.state === "unusable") problems.clear(unit.record.key, `plugin ${this.plugin}`);
    const found = this.#byKey.get(unit.key);
    if (found === unit) this.#byKey.delete(unit.key);
    if (!Array.isArray(found)) return;
    problems.clear(unit.record.key, `duplicate ${this.plugin}`);
    found.splice(placeOf(unit, found), 1);
    const [owner] = found;
    if (owner !== undefined && found.length === 1) this.#byKey.set(unit.key, owner);
    if (owner !== undefined && wasFound) this.#found(owner);
  }

  /** A unit without references leaves for good. */
  drop(unit: CredentialUnit): void {
    this.#plain--;
    this.extract(unit);
  }

  setPending(secret: SecretCredential): void {
    this.#pending.add(secret);
  }

  forget(secret: SecretCredential): void {
    this.#secrets.delete(secret);
    this.#pending.delete(secret);
  }

  #found(unit: CredentialUnit): void {
    unit.current = true;
    this.host.problems.clear(unit.record.key, `duplicate ${this.plugin}`);
  }

  /** An earlier one has its key. @param all the first is that one, whoever it is by the time somebody reads this */
  #setAside(unit: CredentialUnit, all: readonly CredentialUnit[]): void {
    const { key, modRevision } = unit.record;
    unit.current = false;
    const reason = (): string => `its ${this.plugin} key is already used by ${all[0]?.record.key}`;
    this.host.problems.set(key, `duplicate ${this.plugin}`, modRevision, reason);
  }

  #activate(key: string): CredentialUnit | CredentialUnit[] | undefined {
    this.#dormant.activate(this.plugin, key);
    return this.#byKey.get(key);
  }

  #compile(unit: CredentialUnit): boolean {
    if (unit.state === "unusable" || !this.#definition) return false;
    const error = unit.compile(this.#definition, this.host.env);
    if (error === undefined) return true;
    const { key, modRevision } = unit.record;
    this.host.problems.set(key, `plugin ${this.plugin}`, modRevision, `its ${this.plugin} is unusable: ${error}`);
    return false;
  }

  /** Until nothing is pending, what became pending meanwhile included. */
  async #resolveAll(): Promise<void> {
    const work = async (): Promise<void> => {
      for (const secret of this.#pending) {
        this.#pending.delete(secret);
        await secret.resolve();
      }
    };
    await Promise.all(Array.from({ length: RESOLVING_AT_ONCE }, work));
  }
}

/** Where a credential stands, or belongs, among those of its key: thousands may have the same one. */
function placeOf({ record }: CredentialUnit, all: readonly CredentialUnit[]): number {
  let low = 0;
  let high = all.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = (all[middle] as CredentialUnit).record;
    if (other.order < record.order || (other.order === record.order && other.key < record.key)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A credential without references is its own handle. */
class PlainUnit extends CredentialUnit implements CredentialHandle {
  readonly #table: PluginCredentials;

  constructor(
    consumer: Consumer,
    credentialId: string | undefined,
    record: CredentialRecord,
    key: string,
    conf: CredentialConf,
    table: PluginCredentials,
  ) {
    super(consumer, credentialId, record, key, conf);
    this.#table = table;
  }

  get plugin(): string {
    return this.#table.plugin;
  }

  get unit(): CredentialUnit {
    return this;
  }

  remove(): void {
    this.#table.drop(this);
  }
}
