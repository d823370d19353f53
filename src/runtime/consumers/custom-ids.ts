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
  /** A set where several have it. */
  readonly #byId = new Map<string, Consumer | Set<Consumer>>();

  add(consumer: Consumer): void {
    const { customId } = consumer;
    if (customId === undefined) return;
    const before = this.#byId.get(customId);
    if (before instanceof Set) before.add(consumer);
    else this.#byId.set(customId, before === undefined ? consumer : new Set([before, consumer]));
  }

  remove(consumer: Consumer): void {
    const { customId } = consumer;
    const before = customId === undefined ? undefined : this.#byId.get(customId);
    if (customId === undefined || before === undefined) return;
    if (!(before instanceof Set)) {
      if (before === consumer) this.#byId.delete(customId);
      return;
    }
    before.delete(consumer);
    const [first] = before;
    if (first !== undefined && before.size === 1) this.#byId.set(customId, first);
  }

  has(customId: string): boolean {
    return this.#byId.has(customId);
  }

  find(customId: string): Consumer | undefined {
    const found = this.#byId.get(customId);
    return found instanceof Set ? undefined : found;
  }
}
