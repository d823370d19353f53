/**
 * All records of all kinds as of one revision, a line of JSON each, for `jotgate dump`, `diff` and `apply`.
 * Promise: private keys and what plugins show to nobody leave only sealed under a key that the caller gave; the last line
 * says that it was all.
 */
import type { Members } from "../../base/json/members.ts";
import { openKeyring } from "../../base/keyring.ts";
import { parseKey } from "../../model/keys.ts";
import { KINDS, type Kind } from "../../model/kinds.ts";
import { controlKeys } from "../../store/store-keys.ts";
import type { AdminRequest, ReadSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { keyringCodec } from "../sealing/keyring-codec.ts";
import { masked, readable } from "./masking.ts";
import { toStored } from "./stored-record.ts";

type ShowRecord = (kind: Kind, id: string, stored: Members) => Members;

/** What this caller may read; with `?masked=1` what a viewer may. */
export function exportShown(admin: ReadSide, { actor, args }: AdminRequest): AdminAnswer {
  const isMasked = args.get("masked") === "1" || actor.role === "viewer";
  return answerOf(admin, (kind, id, stored) =>
    isMasked
      ? masked(admin.catalog, kind, admin.codec.open(kind, id, stored))
      : readable(admin, kind, id, stored, actor),
  );
}

/** With all secrets, sealed under the key in the body. */
export function exportSealed(admin: ReadSide, { actor, address, body }: AdminRequest): AdminAnswer {
  const key = (body?.value as { readonly key?: unknown } | undefined)?.key;
  if (typeof key !== "string" || !/^[\w-]{43}$/.test(key))
    return refuse(400, "key is missing: 32 bytes in base64url, which secrets are sealed with");
  const fields = (plugin: string, side: "route" | "consumer") => admin.catalog.get(plugin)?.encryptFields(side) ?? [];
  const sealing = keyringCodec(openKeyring([key], "gcm"), fields, "", admin.catalog.declared);
  admin.log.info({ actor: actor.name, address }, "the configuration leaves with its secrets, sealed");
  return answerOf(admin, (kind, id, stored) => sealing.seal(kind, id, admin.codec.open(kind, id, stored)));
}

function answerOf(admin: ReadSide, show: ShowRecord): AdminAnswer {
  return { status: 200, body: linesOf(admin, show), headers: { "Content-Type": "application/x-ndjson" } };
}

async function* linesOf(admin: ReadSide, show: ShowRecord): AsyncGenerator<string, void> {
  const { records: range, control } = controlKeys(admin.prefix);
  let revision = 0n;
  let records = 0;
  for await (const page of admin.store.list(range)) {
    revision = page.revision;
    let chunk = "";
    for (const kv of page.kvs) {
      const key = kv.key.startsWith(control) ? undefined : parseKey(admin.prefix, kv.key);
      const { value, leased } = toStored(kv);
      if (!key || !value) continue; // placeholders, and what others wrote
      records++;
      const shown = show(KINDS[key.kind], key.id, value);
      const line = {
        kind: key.kind,
        id: key.id,
        revision: Number(kv.modRevision),
        ...(leased && { leased }),
        value: shown,
      };
      chunk += `${JSON.stringify(line)}\n`;
    }
    if (chunk !== "") yield chunk;
  }
  yield `${JSON.stringify({ end: true, revision: Number(revision), records })}\n`;
}
