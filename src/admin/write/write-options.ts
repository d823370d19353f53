/**
 * What a write may ask for beside its body: to wait for every gateway node, to happen only if the record is as the client
 * knows it, or not to happen at all.
 * Promise: what cannot be understood is refused before anything is written.
 */

import { suggest } from "../../base/suggest.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import type { StoredMembers } from "../read/stored-record.ts";
import type { Arguments } from "../request-target.ts";

export interface WriteOptions {
  /** Answer when every live gateway node has applied the write. */
  readonly wait: { readonly timeoutMs: number } | undefined;
  /** Say what would change, and write nothing. */
  readonly dryRun: boolean;
  /** Only if the record has one of these revisions; `*`: if it exists. */
  readonly ifMatch: Tags | undefined;
  /** Only if the record has none of these revisions; `*`: if it does not exist. */
  readonly ifNoneMatch: Tags | undefined;
}

type Tags = "*" | ReadonlySet<string>;

export const NO_OPTIONS: WriteOptions = Object.freeze({
  wait: undefined,
  dryRun: false,
  ifMatch: undefined,
  ifNoneMatch: undefined,
});

const WAIT_MS = 2_000;
/** Longer than any healthy cluster needs, shorter than what proxies in front of an admin allow. */
const WAIT_MAX_MS = 30_000;

/** Query arguments of every write: ours, those of APISIX, the key where it may stand there, what browsers break caches by. */
const ARGUMENTS = ["dry_run", "wait", "timeout", "ttl", "force", "api_key", "_"] as const;

/** A mistyped option of a write must not write for real. @param own what this endpoint takes beside those of every write */
export function argumentRefusal(args: Arguments, own: readonly string[] = []): AdminAnswer | undefined {
  const known: readonly string[] = [...ARGUMENTS, ...own];
  for (const name of args.keys()) {
    if (known.includes(name)) continue;
    const plain = name.toLowerCase().replace(/[^a-z]/g, "");
    const near = known.find((one) => one.replace("_", "") === plain) ?? suggest(name, known);
    const hint = near === undefined ? `a write takes ${known.slice(0, 5).join(", ")}` : `did you mean ${near}?`;
    return refuse(400, `unknown argument ${shorten(name)}, nothing was written; ${hint}`);
  }
  const { repeated } = args;
  if (repeated !== undefined) {
    return refuse(400, `argument ${repeated} was given with different values, nothing was written; give it once`);
  }
  if (!FORCES.has(args.get("force"))) return refuse(400, "invalid argument force: should be true or false");
  return undefined;
}

/** APISIX takes `true` for a yes and says nothing of `1`. */
const FORCES: ReadonlySet<string | undefined> = new Set([undefined, "true", "false"]);

function shorten(name: string): string {
  return name.length > 64 ? `${name.slice(0, 61)}...` : name;
}

/** `?wait=all&timeout=2s` or `X-Wait: all; timeout=2s`, `?dry_run=1`, `If-Match: "57"`, `If-None-Match: *`. */
export function writeOptionsOf(
  args: ReadonlyMap<string, string>,
  header: (name: string) => string | undefined,
): WriteOptions | AdminAnswer {
  const wait = waitOf(args, header("x-wait"));
  if (wait !== undefined && "status" in wait) return wait;
  const dryRun = SWITCH.get(args.get("dry_run") ?? "0");
  if (dryRun === undefined) return refuse(400, "invalid argument dry_run: should be 1 or 0");
  const ifMatch = tagsOf(header("if-match"));
  const ifNoneMatch = tagsOf(header("if-none-match"));
  if (ifMatch === BAD_TAGS) return badTags("If-Match");
  if (ifNoneMatch === BAD_TAGS) return badTags("If-None-Match");
  return { wait, dryRun, ifMatch, ifNoneMatch };
}

function badTags(header: string): AdminAnswer {
  return refuse(400, `invalid header ${header}: should be * or revisions such as "57"`);
}

const SWITCH: ReadonlyMap<string, boolean> = new Map([
  ["1", true],
  ["true", true],
  ["0", false],
  ["false", false],
]);

/** How answers name a record's revision. */
export function etagOf(revision: bigint): string {
  return `"${revision}"`;
}

const BAD_TAGS = Symbol("not a list of tags");

/** Weak tags and bare numbers are taken too: proxies weaken tags, and people type numbers. */
function tagsOf(header: string | undefined): Tags | typeof BAD_TAGS | undefined {
  if (header === undefined) return undefined;
  if (header.trim() === "*") return "*";
  const tags = header
    .split(",")
    .map((tag) => /^\s*(?:W\/)?(?:"([^"]*)"|(\d+))\s*$/.exec(tag))
    .map((parts) => parts?.[1] ?? parts?.[2]);
  return tags.every((tag) => tag !== undefined) ? new Set(tags) : BAD_TAGS;
}

/** 412 when the record is not as the client thinks. */
export function preconditionRefusal(options: WriteOptions, record: StoredMembers | undefined): AdminAnswer | undefined {
  const { ifMatch, ifNoneMatch } = options;
  const holds = (ifMatch === undefined || names(ifMatch, record)) && !(ifNoneMatch && names(ifNoneMatch, record));
  if (holds) return undefined;
  const what = record ? `its revision is ${record.modRevision}` : "it does not exist";
  const refusal = refuse(412, `the record is not as expected: ${what}`);
  return record ? { ...refusal, headers: { ETag: etagOf(record.modRevision) } } : refusal;
}

function names(tags: Tags, record: StoredMembers | undefined): boolean {
  return record !== undefined && (tags === "*" || tags.has(String(record.modRevision)));
}

function waitOf(args: ReadonlyMap<string, string>, header: string | undefined): WriteOptions["wait"] | AdminAnswer {
  const [named = "", given = "", ...more] = (header ?? "").split(/\s*[;,]\s*/);
  if (more.length > 0) return refuse(400, "invalid header X-Wait: should be such as all; timeout=2s");
  const wanted = args.get("wait") ?? (header === undefined ? undefined : named.trim());
  const timeout = args.get("timeout") ?? (given === "" ? undefined : given.trim().replace(/^timeout=/, ""));
  const timeoutMs = timeout === undefined ? WAIT_MS : millisecondsIn(timeout);
  if (wanted !== undefined && wanted !== "all") return refuse(400, "invalid argument wait: should be all");
  if (timeoutMs === undefined) return BAD_TIMEOUT;
  return wanted === undefined ? undefined : { timeoutMs };
}

const BAD_TIMEOUT = refuse(400, "invalid argument timeout: should be a duration such as 500ms or 2s, at most 30s");

function millisecondsIn(text: string): number | undefined {
  const parts = /^(\d{1,6}(?:\.\d{1,3})?)(ms|s|)$/.exec(text);
  const valueMs = Math.round(Number(parts?.[1]) * (parts?.[2] === "ms" ? 1 : 1_000));
  return valueMs >= 1 && valueMs <= WAIT_MAX_MS ? valueMs : undefined;
}
