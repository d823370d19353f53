/**
 * How workers of a node hear each other: each tells its primary, which tells the others.
 * Promise: what is told within a moment goes in one message; what waits is bounded, and beyond it is dropped.
 */
import type { Channel } from "../../base/channel.ts";
import type { Clock } from "../../base/clock.ts";
import type { Siblings } from "../../plugin/plugin.ts";
import { BROADCAST, MESSAGES_MAX, RELAYED, type TopicMessage } from "./shared-messages.ts";

const TOGETHER_MS = 5;
/** What was told before anybody here listened: a unit is made at its first request, which may come later than elsewhere. */
const EARLY_TOPICS_MAX = 1_000;
const EARLY_MAX = 256;

/** A worker's end. */
export function openSiblings(channel: Channel, clock: Clock): Siblings {
  const listeners = new Map<string, Set<(message: unknown) => void>>();
  const early = new Map<string, unknown[]>();
  let waiting: TopicMessage[] = [];
  let isPlanned = false;
  const flush = (): void => {
    isPlanned = false;
    channel.tell(BROADCAST, waiting);
    waiting = [];
  };
  channel.onTell(RELAYED, (messages) => {
    for (const { topic, message } of messages) {
      const mine = listeners.get(topic);
      if (mine) for (const hear of mine) hear(message);
      else keep(early, topic, message);
    }
  });
  return {
    join(topic, hear) {
      const mine = listeners.get(topic) ?? new Set();
      listeners.set(topic, mine.add(hear));
      for (const message of early.get(topic) ?? []) hear(message);
      early.delete(topic);
      return {
        tell(message) {
          if (waiting.length >= MESSAGES_MAX) return;
          waiting.push({ topic, message });
          if (isPlanned) return;
          isPlanned = true;
          clock.after(TOGETHER_MS, flush);
        },
        leave() {
          mine.delete(hear);
          if (mine.size === 0 && listeners.get(topic) === mine) listeners.delete(topic);
        },
      };
    },
  };
}

function keep(early: Map<string, unknown[]>, topic: string, message: unknown): void {
  const kept = early.get(topic) ?? [];
  if (kept.length >= EARLY_MAX) kept.shift();
  kept.push(message);
  early.set(topic, kept);
  const [oldest] = early.keys();
  if (early.size > EARLY_TOPICS_MAX && oldest !== undefined) early.delete(oldest);
}

/** The primary's end: passes on what each worker tells. */
export class SiblingRelay {
  readonly #channels = new Set<Channel>();

  /** @returns takes the worker out again */
  add(channel: Channel): () => void {
    this.#channels.add(channel);
    channel.onTell(BROADCAST, (messages) => {
      for (const other of this.#channels) if (other !== channel) other.tell(RELAYED, messages);
    });
    return () => void this.#channels.delete(channel);
  }
}
