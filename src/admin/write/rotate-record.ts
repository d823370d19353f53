/**
 * `POST /consumers/{username}[/credentials/{id}]/rotate?overlap=86400`: a new secret or key, and the former one for a while.
 * Promise: a write like any other (checked, sealed, in the history, `?wait=all`), and only of what was read; a secret that
 * was made is shown in this answer and to nobody again but as records are shown.
 */

import { isMembers, type Members, own, ownMembers } from "../../base/json/members.ts";
import { keyOf } from "../../model/keys.ts";
import type { AdminRequest, WriteSide } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND, refuse } from "../admin-response.ts";
import { readStored } from "../read/stored-record.ts";
import { type ResourceTarget, recordId } from "../request-target.ts";
import { putRecord } from "./write.ts";

const OVERLAP_SECONDS = 86_400;
const OVERLAP_MAX_SECONDS = 400 * 86_400;
const ATTEMPTS = 10;

export async function rotate(admin: WriteSide, request: AdminRequest, target: ResourceTarget): Promise<AdminAnswer> {
  const overlapSeconds = overlapOf(request.args.get("overlap"));
  if (overlapSeconds === undefined) {
    return refuse(400, `invalid argument overlap: should be whole seconds from 0 to ${OVERLAP_MAX_SECONDS}`);
  }
  const given = request.body?.value ?? {};
  if (!isMembers(given)) {
    return refuse(400, "invalid configuration: expected an object with public_key, or no body");
  }
  const rotation = { overlapSeconds, nowSeconds: Math.floor(admin.clock.nowMs() / 1_000) };
  for (let attempt = 1; ; attempt++) {
    const answer = await rotateOnce(admin, request, target, given as Members, rotation);
    if (answer.status !== 412 || attempt >= ATTEMPTS) return answer; // 412: it changed after it was read
  }
}

async function rotateOnce(
  admin: WriteSide,
  request: AdminRequest,
  target: ResourceTarget,
  given: Members,
  rotation: { readonly nowSeconds: number; readonly overlapSeconds: number },
): Promise<AdminAnswer> {
  const { kind } = target;
  const id = recordId(target, target.localId ?? "");
  const key = keyOf(admin.prefix, kind.name, id);
  const stored = await readStored(admin.store, key);
  if (!stored?.value) return KEY_NOT_FOUND;
  if (stored.leased) return refuse(400, "the record has a lifetime (ttl): write a new one instead");
  const { create_time: _c, update_time: _u, ...value } = admin.codec.open(kind, id, stored.value);
  const plugins = ownMembers(value, "plugins");
  const wanted = request.args.get("plugin");
  const names = Object.keys(plugins).filter((name) => admin.catalog.get(name)?.rotate && (wanted ?? name) === name);
  const [name] = names;
  if (name === undefined) return refuse(400, `${key} has no ${wanted ?? "plugin with a key"} that can be rotated`);
  if (names.length > 1) return refuse(400, `${names.join(" and ")} can be rotated: say which with ?plugin=`);
  const rotated = admin.catalog.get(name)?.rotate?.(ownMembers(plugins, name), given, rotation) ?? "cannot be rotated";
  if (typeof rotated === "string") return refuse(400, `${name}: ${rotated}`);
  const body = { value: { ...value, plugins: { ...plugins, [name]: rotated.conf } } };
  const options = { ...request.options, ifMatch: new Set([stored.modRevision.toString()]), ifNoneMatch: undefined };
  const answer = await putRecord(admin, { ...request, options }, target, body);
  if (answer.status >= 300) return answer;
  const former = own(rotated.conf, "previous_keys") ?? own(rotated.conf, "client_secrets");
  const previous = (Array.isArray(former) ? former : [])
    .filter(hasEnd)
    .map((one: Members) => ({ not_after: one["not_after"] }));
  const generated = Object.keys(rotated.generated).length > 0 && { generated: rotated.generated };
  const { value: _v, ...shown } = answer.body as Members;
  if (request.options.dryRun) return { ...answer, body: { ...shown, plugin: name, previous_keys: previous } };
  return { ...answer, body: { key, plugin: name, ...generated, previous_keys: previous } };
}

/** The current one has none. */
function hasEnd(key: Members): boolean {
  return key["not_after"] !== undefined;
}

function overlapOf(text: string | undefined): number | undefined {
  if (text === undefined) return OVERLAP_SECONDS;
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  return seconds <= OVERLAP_MAX_SECONDS ? seconds : undefined;
}
