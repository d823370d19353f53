/**
 * Asks an Admin API for commands: with the key, in time, again where that is safe.
 * Promise: a call that may be repeated is, for a while, with growing pauses; what then still fails says what was asked and where.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { messageOf } from "../base/errors.ts";

export interface Answered {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes, looked at member by member
  readonly body: any;
  readonly headers: IncomingHttpHeaders;
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
  const isSecure = new URL(url).protocol === "https:";
  // Connections stay open between writes, thousands of which go through few of them; idle ones keep no process alive.
  const agent = isSecure ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
  const request = isSecure ? httpsRequest : httpRequest;
  /** The head of the answer; its body may break off later. Redirects are not followed: they would take the key elsewhere. */
  const call = (method: string, path: string, limitMs: number, body?: unknown, more = {}): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body), "utf8");
      const headers = { "x-api-key": key, ...(bytes && { "content-length": bytes.length }), ...more };
      const asked = request(new URL(`/apisix/admin${path}`, url), { method, headers, agent });
      const timer = setTimeout(() => asked.destroy(new Error(`no whole answer in ${limitMs / 1_000} s`)), limitMs);
      asked.on("error", reject).on("close", () => clearTimeout(timer));
      asked.on("response", resolve).end(bytes);
    });
  return {
    url,
    async ask(method, path, body, headers) {
      const endMs = performance.now() + GIVE_UP_MS;
      for (let attempt = 0; ; attempt++) {
        let trouble: string;
        try {
          const response = await call(method, path, ANSWER_MS, body, headers);
          const text = await textOf(response);
          const { statusCode: status = 0 } = response;
          if (status !== 503 && status !== 429) return { status, body: parsed(text), headers: response.headers };
          trouble = `${status} ${errorOf(parsed(text))}`;
        } catch (error) {
          trouble = messageOf(error);
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
        if (response.statusCode !== 200)
          throw new Refused(`${url} answers ${response.statusCode}: ${errorOf(parsed(await textOf(response)))}`);
        for await (const chunk of response.setEncoding("utf8")) {
          const parts = (rest + (chunk as string)).split("\n");
          rest = parts.pop() ?? "";
          yield* parts;
        }
      } catch (error) {
        if (error instanceof Refused) throw error;
        throw new LostAdmin(`${url} does not answer ${method} ${path}: ${messageOf(error)}`);
      }
    },
  };
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk as string;
  return text;
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
