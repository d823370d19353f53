/**
 * What a write may ask for beside its body: to wait for every gateway node.
 * Promise: what cannot be understood is refused before anything is written.
 */
import { type AdminAnswer, refuse } from "./answer.ts";

export interface WriteOptions {
  /** Answer when every live gateway node has applied the write. */
  readonly wait: { readonly timeoutMs: number } | undefined;
}

export const NO_OPTIONS: WriteOptions = Object.freeze({ wait: undefined });

const WAIT_MS = 2_000;
/** Longer than any healthy cluster needs, shorter than what proxies in front of an admin allow. */
const WAIT_MAX_MS = 30_000;

/** `?wait=all&timeout=2s`, or the header `X-Wait: all; timeout=2s`; the query wins. */
export function writeOptionsOf(
  args: ReadonlyMap<string, string>,
  header: (name: string) => string | undefined,
): WriteOptions | AdminAnswer {
  const wait = waitOf(args, header("x-wait"));
  if (wait !== undefined && "status" in wait) return wait;
  return wait === undefined ? NO_OPTIONS : { wait };
}

function waitOf(args: ReadonlyMap<string, string>, header: string | undefined): WriteOptions["wait"] | AdminAnswer {
  const [named = "", given = ""] = (header ?? "").split(/\s*[;,]\s*/, 2);
  const wanted = args.get("wait") ?? (header === undefined ? undefined : named.trim());
  if (wanted === undefined) return undefined;
  if (wanted !== "all") return refuse(400, "invalid argument wait: should be all");
  const timeout = args.get("timeout") ?? (given === "" ? undefined : given.trim().replace(/^timeout=/, ""));
  const timeoutMs = timeout === undefined ? WAIT_MS : millisecondsIn(timeout);
  return timeoutMs === undefined ? BAD_TIMEOUT : { timeoutMs };
}

const BAD_TIMEOUT = refuse(400, "invalid argument timeout: should be a duration such as 500ms or 2s, at most 30s");

function millisecondsIn(text: string): number | undefined {
  const parts = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s|)$/.exec(text);
  const valueMs = Math.round(Number(parts?.[1]) * (parts?.[2] === "ms" ? 1 : 1_000));
  return valueMs >= 1 && valueMs <= WAIT_MAX_MS ? valueMs : undefined;
}
