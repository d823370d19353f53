/**
 * Asks an Admin API for commands: with the key, in time, again where that is safe.
 * Promise: a call that may be repeated is, for a while, with growing pauses; what then still fails says what was asked and where.
 */
import { messageOf } from "../base/errors.ts";

export interface Answered {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes, looked at member by member
  readonly body: any;
  readonly headers: Headers;
}

/** Nobody answers any more; whether the last write was done is unknown. */
export class LostAdmin extends Error {}

export interface AdminClient {
  readonly url: string;
  /** @throws LostAdmin */
  ask(method: string, path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Answered>;
  /** The lines of an answer. @throws LostAdmin, Error with what a refusal says */
  lines(method: string, path: string, body?: unknown): AsyncGenerator<string, void>;
}

export const DEFAULT_ADMIN = "http://127.0.0.1:9180";
const ANSWER_MS = 40_000;
const LINES_MS = 600_000;
const GIVE_UP_MS = 8_000; // a restart takes less
const PAUSE_MS = 200;
const PAUSE_MAX_MS = 2_000;

export function openAdminClient(url: string, key: string): AdminClient {
  const call = (method: string, path: string, limitMs: number, body?: unknown, more = {}): Promise<Response> =>
    fetch(new URL(`/apisix/admin${path}`, url), {
      method,
      headers: { "x-api-key": key, ...more },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(limitMs),
    });
  return {
    url,
    async ask(method, path, body, headers) {
      const endMs = performance.now() + GIVE_UP_MS;
      for (let attempt = 0; ; attempt++) {
        let trouble: string;
        try {
          const response = await call(method, path, ANSWER_MS, body, headers);
          const text = await response.text();
          if (response.status !== 503 && response.status !== 429)
            return { status: response.status, body: parsed(text), headers: response.headers };
          trouble = `${response.status} ${errorOf(parsed(text))}`;
        } catch (error) {
          trouble = causeOf(error);
        }
        if (performance.now() > endMs) throw new LostAdmin(`${url} does not answer ${method} ${path}: ${trouble}`);
        const pauseMs = Math.min(PAUSE_MAX_MS, PAUSE_MS * 2 ** attempt) * (0.5 + Math.random() / 2);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    },
    async *lines(method, path, body) {
      let rest = "";
      try {
        const response = await call(method, path, LINES_MS, body);
        if (!response.ok || !response.body)
          throw new Refused(`${url} answers ${response.status}: ${errorOf(parsed(await response.text()))}`);
        const decoder = new TextDecoder();
        for await (const chunk of response.body) {
          const parts = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
          rest = parts.pop() ?? "";
          yield* parts;
        }
      } catch (error) {
        if (error instanceof Refused) throw error;
        throw new LostAdmin(`${url} does not answer ${method} ${path}: ${causeOf(error)}`);
      }
    },
  };
}

class Refused extends Error {}

/** What a refusal says. */
export function errorOf(body: Answered["body"]): string {
  const { error_msg: error, description, message } = (body ?? {}) as Readonly<Record<string, unknown>>;
  return [error ?? message ?? "", description ?? ""].filter((text) => text !== "").join("; ");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { error_msg: text.slice(0, 200) };
  }
}

function causeOf(error: unknown): string {
  return messageOf((error as { readonly cause?: unknown }).cause ?? error);
}
