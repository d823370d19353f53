/**
 * A consumer and a consumer group as requests meet them. A changed one is another object; a group's change touches none
 * of its members.
 */

import { messageOf } from "../../base/errors.ts";
import { withDefaults } from "../../base/schema/schema-defaults.ts";
import type { StoredValue } from "../../model/record.ts";
import type { AnyCredential, NodeEnv } from "../../plugin/plugin.ts";
import type { Consumer, Credential } from "../../plugin/plugin-consumer.ts";
import { consumerPlugins, mergePlugins } from "../plugins/pipeline.ts";
import type { PluginSet } from "../plugins/plugin-unit.ts";
import type { SecretUsers } from "../plugins/secret-source.ts";
import type { Problems } from "../problems.ts";

/** What a consumer and its group lay over a route; the same object as long as neither has changed. */
export type ConsumerLayer = PluginSet;

/** What a record has put into credential tables. Nearly all have one credential or none, so that one needs no list. */
export type Handles = undefined | CredentialHandle | readonly CredentialHandle[];

export function detach(handles: Handles): void {
  if (handles === undefined) return;
  if ("remove" in handles) handles.remove();
  else for (const handle of handles) handle.remove();
}

const NO_LABELS: Readonly<Record<string, string>> = Object.freeze({});

export class ConsumerGroup {
  readonly plugins: PluginSet;
  /** For members that bring nothing of their own. */
  readonly layer: ConsumerLayer | undefined;

  constructor(plugins: PluginSet) {
    this.plugins = plugins;
    this.layer = consumerPlugins(plugins);
  }
}

export class ConsumerUnit implements Consumer {
  readonly username: string;
  readonly groupId: string | undefined;
  readonly customId: string | undefined;
  readonly labels: Readonly<Record<string, string>>;
  readonly plugins: PluginSet;
  /** Create revision of its record. */
  readonly created: number;
  usedIn = 0;
  handles: Handles;
  readonly #groups: ReadonlyMap<string, ConsumerGroup>;
  /** The group `#layer` was made with. */
  #madeWith: ConsumerGroup | undefined;
  #layer: ConsumerLayer | undefined;

  constructor(
    username: string,
    value: StoredValue,
    plugins: PluginSet,
    groups: ReadonlyMap<string, ConsumerGroup>,
    created: number,
  ) {
    const labels = value["labels"] as Readonly<Record<string, string>> | undefined; // by the schema
    const groupId = value["group_id"];
    this.username = username;
    this.created = created;
    this.groupId = groupId === undefined ? undefined : String(groupId);
    this.labels = labels ?? NO_LABELS;
    this.customId = labels?.["custom_id"];
    this.plugins = plugins;
    this.#groups = groups;
    this.#layer = this.groupId === undefined ? consumerPlugins(plugins) : undefined;
  }

  /** @returns undefined when it brings nothing that would run */
  consumerLayer(): ConsumerLayer | undefined | "group_missing" {
    if (this.groupId === undefined) return this.#layer;
    const group = this.#groups.get(this.groupId);
    if (!group) return "group_missing";
    if (this.plugins.length === 0) return group.layer;
    if (this.#madeWith !== group) {
      this.#layer = consumerPlugins(mergePlugins([group.plugins, this.plugins]));
      this.#madeWith = group;
    }
    return this.#layer;
  }
}

/**
 * One credential as the table of its plugin holds it: who it belongs to, its key, and what requests are verified with,
 * which is made when it is first found (a key object costs more memory than all the rest of a consumer).
 */

/** A credential's configuration as its record has it. */
export type CredentialConf = Readonly<Record<string, unknown>>;

/** The record that carries a credential. */
export interface CredentialRecord {
  /** Store key, for problems and for ties. */
  readonly key: string;
  readonly modRevision: bigint;
  /** Create revision: of two credentials with one key the earlier created is found. */
  readonly order: number;
}

/** What a record has put into a table. */
export interface CredentialHandle {
  readonly plugin: string;
  /** undefined: its references are not resolved. */
  readonly unit: CredentialUnit | undefined;
  remove(): void;
}

export interface CredentialHost {
  readonly env: NodeEnv;
  readonly secrets: SecretUsers;
  readonly problems: Problems;
}

export class CredentialUnit implements Credential {
  readonly consumer: Consumer;
  readonly credentialId: string | undefined;
  readonly record: CredentialRecord;
  readonly key: string;
  /** Whether look-ups find it: it is in the table and no earlier one has its key. */
  current = false;
  usedIn = 0;
  data: unknown = undefined;
  state: "new" | "compiled" | "unusable" = "new";
  readonly #conf: CredentialConf;

  /** @param conf references resolved, defaults not filled */
  constructor(
    consumer: Consumer,
    credentialId: string | undefined,
    record: CredentialRecord,
    key: string,
    conf: CredentialConf,
  ) {
    this.consumer = consumer;
    this.credentialId = credentialId;
    this.record = record;
    this.key = key;
    this.#conf = conf;
  }

  /** Makes `data`. @returns why it cannot be used, though it passed every check; it stays so */
  compile(definition: AnyCredential, env: NodeEnv): string | undefined {
    try {
      this.data = definition.compile(withDefaults(definition.schema, this.#conf), env);
      this.state = "compiled";
      return undefined;
    } catch (error) {
      this.state = "unusable";
      return messageOf(error);
    }
  }
}
