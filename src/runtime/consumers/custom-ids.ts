/**
 * Consumers by their label `custom_id`. It is not unique by itself: whoever shares it with another is not found by it,
 * since a caller must never be taken for somebody else.
 */
import type { StoredValue } from "../../model/record.ts";
import type { Consumer } from "../../plugin/plugin-consumer.ts";
import type { PluginKey } from "./dormant-consumers.ts";

/** In place of a plugin's name where dormant records are found by key; no plugin is called so. */
export const CUSTOM_ID = "label custom_id";

/** What a record adds to its keys: of consumers only, since a credential's labels name nobody. */
export function customIdKeys({ username, labels }: StoredValue): readonly PluginKey[] {
  if (username === undefined) return [];
  const customId = (labels as Consumer["labels"] | undefined)?.["custom_id"]; // by the schema
  return customId === undefined ? [] : [[CUSTOM_ID, customId]];
}

export class CustomIds {
  readonly #byId = new Map<string, Consumer | readonly Consumer[]>();

  add(consumer: Consumer): void {
    const { customId } = consumer;
    if (customId === undefined) return;
    const before = this.#byId.get(customId);
    this.#byId.set(customId, before === undefined ? consumer : [...listOf(before), consumer]);
  }

  remove(consumer: Consumer): void {
    const { customId } = consumer;
    const before = customId === undefined ? undefined : this.#byId.get(customId);
    if (customId === undefined || before === undefined) return;
    const left = listOf(before).filter((one) => one !== consumer);
    if (left.length === 0) this.#byId.delete(customId);
    else this.#byId.set(customId, left.length === 1 ? (left[0] as Consumer) : left);
  }

  has(customId: string): boolean {
    return this.#byId.has(customId);
  }

  find(customId: string): Consumer | undefined {
    const found = this.#byId.get(customId);
    return isList(found) ? undefined : found;
  }
}

function listOf(found: Consumer | readonly Consumer[]): readonly Consumer[] {
  return isList(found) ? found : [found];
}

function isList(found: Consumer | readonly Consumer[] | undefined): found is readonly Consumer[] {
  return Array.isArray(found);
}
