/**
 * A consumer and a consumer group as requests meet them. A changed one is another object; a group's change touches none
 * of its members.
 */
import type { StoredValue } from "../../model/record.ts";
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import { consumerPlugins, mergePlugins } from "../plugins/pipeline.ts";
import type { PluginSet } from "../plugins/plugin-unit.ts";
import type { CredentialHandle } from "./credential-unit.ts";

/** What a consumer and its group lay over a route; the same object as long as neither has changed. */
export type ConsumerLayer = PluginSet;

/** What a record has put into credential tables. Nearly all have one credential or none, so that one needs no list. */
export type Handles = undefined | CredentialHandle | readonly CredentialHandle[];

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
