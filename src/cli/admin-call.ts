/**
 * What commands ask of others: one call of the Admin API, or of an issuer's endpoint, and what went wrong in words.
 * Promise: no key, secret or token is in those words; a peer that is silent costs 15 seconds.
 */
import { messageOf } from "../base/errors.ts";
import type { CommandIo } from "./command-io.ts";

export type AdminReply = Readonly<Record<string, unknown>>;

export const DEFAULT_ADMIN = "http://127.0.0.1:9180";
const LIMIT_MS = 15_000;

interface AdminCall {
  readonly admin: string;
  readonly key: string;
  /** Behind `/apisix/admin/`. */
  readonly path: string;
  /** Sent by POST; absent: a GET. */
  readonly body?: Readonly<Record<string, unknown>>;
}

/** @returns undefined: it failed, which was said */
export function askAdmin({ admin, key, path, body }: AdminCall, io: CommandIo): Promise<AdminReply | undefined> {
  return askFor(
    new URL(`/apisix/admin/${path}`, admin),
    { headers: { "x-api-key": key }, ...(body && { method: "POST", body: JSON.stringify(body) }) },
    io,
  );
}

/** A JSON object from somewhere. @returns undefined: it failed, which was said */
export async function askFor(url: URL, request: RequestInit, io: CommandIo): Promise<AdminReply | undefined> {
  const from = url.origin;
  try {
    // A redirect would take key or secret elsewhere.
    const response = await fetch(url, { ...request, redirect: "error", signal: AbortSignal.timeout(LIMIT_MS) });
    const answer = (await response.json().catch(() => undefined)) as AdminReply | null | undefined;
    if (typeof answer !== "object" || answer === null) {
      io.complain(`${from} answers ${response.status} to ${url.pathname}, without JSON`);
      return undefined;
    }
    if (response.ok) return answer;
    const { error_msg: message, error, error_description: description = answer["description"] } = answer;
    io.complain(`${from} answers ${response.status}: ${[message ?? error, description].filter(Boolean).join(": ")}`);
    return undefined;
  } catch (error) {
    const cause = (error as { readonly cause?: unknown }).cause;
    io.complain(`${from} does not answer: ${messageOf(cause ?? error)}`);
    return undefined;
  }
}
