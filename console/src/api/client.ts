/**
 * Calls of the Admin API. Promise: whatever goes wrong is an ApiError that says what happened and what to do.
 */
import { currentKey, signOut } from "../session.ts";
import { type Operations, PATHS } from "./generated.ts";

const BASE = "/apisix/admin";
const CALL_MS = 40_000;

export class ApiError extends Error {
  /** 0: no answer came. */
  readonly status: number;
  readonly cure: string;
  readonly body: unknown;

  constructor(status: number, message: string, cure: string, body?: unknown) {
    super(message);
    this.status = status;
    this.cure = cure;
    this.body = body;
  }
}

export interface Answer<Body> {
  readonly status: number;
  readonly body: Body;
  readonly headers: Headers;
}

interface CallOptions {
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Instead of the session's key, as when it is tried. */
  readonly key?: string;
}

const CURES: Readonly<Record<number, string>> = {
  0: "Is the admin node running, and is it reachable from here? What you typed is kept; try again.",
  400: "Change what it names, then try again.",
  401: "Sign in with a key that may do this.",
  403: "This machine's address may not use the Admin API (admin.allow_list).",
  404: "It may have been deleted, or never existed.",
  409: "Somebody changed it at the same moment: look at it again, then repeat.",
  412: "Somebody changed it meanwhile: look at both versions.",
  429: "Wait a minute, then use a right key.",
  500: "The log of the admin node says why.",
  502: "The node is away or cannot be reached from the admin node.",
  503: "The store (etcd) does not answer. Traffic is not affected. What you typed is kept; try again.",
  504: "The node is busy or away; try again.",
  507: "The store is full: make room in it, then repeat. Nothing was written.",
};

function messageIn(body: unknown, status: number): string {
  if (typeof body === "string" && body !== "") return body.slice(0, 2_000);
  const { error_msg, message, description } = (body ?? {}) as Readonly<Record<string, unknown>>;
  const said = [error_msg ?? message, description].filter((text) => typeof text === "string").join(" · ");
  return said === "" ? `the admin node answered ${status}` : said;
}

/** @param path below `/apisix/admin`, its parts encoded */
export async function call<Body>(method: string, path: string, options: CallOptions = {}): Promise<Answer<Body>> {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(options.query ?? {})) if (value !== undefined) query.set(name, value);
  const key = options.key ?? currentKey() ?? "";
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${BASE}${path}${query.size > 0 ? `?${query}` : ""}`, {
      method,
      headers: { "X-API-KEY": key, ...options.headers },
      ...(options.body !== undefined && { body: JSON.stringify(options.body) }),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.timeout(CALL_MS),
    });
    text = await response.text();
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    const what = late
      ? `The admin node did not answer within ${CALL_MS / 1_000} s.`
      : "The admin node does not answer.";
    throw new ApiError(0, what, CURES[0] ?? "");
  }
  const body = parsed(text);
  if (response.ok) return { status: response.status, body: body as Body, headers: response.headers };
  const { status } = response;
  const message = messageIn(body, status);
  if (status === 401 && options.key === undefined && !message.includes("viewer"))
    signOut("The key is not (or no longer) taken. What you typed is kept.");
  throw new ApiError(status, message, CURES[status] ?? "The log of the admin node says more.", body);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** Path segments as the Admin API has them. */
export function encoded(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** An operation of the Admin API by its id; its types are those of the OpenAPI description. */
export async function ask<Id extends keyof Operations>(
  id: Id,
  given: {
    readonly params?: Operations[Id]["params"];
    readonly query?: Operations[Id]["query"];
    readonly body?: unknown;
  } = {},
): Promise<Operations[Id]["answer"]> {
  const [method, template] = PATHS[id];
  const params = (given.params ?? {}) as Readonly<Record<string, string>>;
  const path = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(params[name] ?? ""));
  const answer = await call<Operations[Id]["answer"]>(method, path, {
    query: (given.query ?? {}) as Readonly<Record<string, string | undefined>>,
    body: given.body,
  });
  return answer.body;
}
