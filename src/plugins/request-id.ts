/**
 * request-id: gives every request an id that goes upstream and back; a client's own id is kept.
 * Source: docs/spec/plugins.md section 10, APISIX 3.18.
 */

import { randomBytes, randomUUID } from "node:crypto";
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { headerError } from "./shared/header-operations.ts";
import { Words } from "./shared/schema-parts.ts";

const CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIGKLMNOPQRSTUVWXYZ0123456789";

const schema = Type.Object({
  header_name: Defaulted(Type.String({ default: "X-Request-Id" })),
  include_in_response: Defaulted(Type.Boolean({ default: true })),
  algorithm: Defaulted(Words(["uuid", "nanoid", "range_id", "ksuid", "uuidv7"], { default: "uuid" })),
  range_id: Defaulted(
    Type.Object(
      {
        length: Defaulted(Type.Integer({ minimum: 6, default: 16 })),
        char_set: Defaulted(Type.String({ minLength: 6, default: CHARACTERS })),
      },
      { default: { length: 16, char_set: CHARACTERS } },
    ),
  ),
});

export const requestId = definePlugin({
  name: "request-id",
  version: 0.1,
  priority: 12_015,
  explain: "run",
  schema,
  check: (conf) => headerError(conf.header_name, ""),
  compile(conf, env) {
    const name = conf.header_name;
    const lower = name.toLowerCase();
    const make = {
      uuid: makeUuid,
      uuidv7: () => makeUuidV7(env.clock.nowMs()),
      nanoid: makeNanoid,
      ksuid: () => makeKsuid(env.clock.nowMs()),
      range_id: () => makeRangeId(conf.range_id.length, conf.range_id.char_set),
    }[conf.algorithm];
    const note = `request-id:${lower}`;
    return {
      rewrite(view) {
        const sent = view.header(lower);
        const id = sent === undefined || sent === "" ? make() : sent;
        if (id !== sent) view.headers.set(name, id);
        view.setNote("request_id", id); // what $request_id, logs and other plugins read
        view.setNote(note, id);
        return undefined;
      },
      headerFilter(view, response) {
        if (!conf.include_in_response || response.headers.get(lower)) return;
        const id = view.note(note);
        if (typeof id === "string") response.headers.set(name, id);
      },
    };
  },
});

/**
 * The forms of ids that request-id can make; all from the cryptographic random source.
 */

/** UUID version 4. */
export function makeUuid(): string {
  return randomUUID();
}

/** UUID version 7 (RFC 9562): 48 bits of milliseconds, then random. */
function makeUuidV7(nowMs: number): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Math.floor(nowMs), 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const NANOID_ALPHABET = "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** 21 characters, 126 random bits. */
function makeNanoid(): string {
  let id = "";
  for (const byte of randomBytes(21)) id += NANOID_ALPHABET[byte & 63];
  return id;
}

const KSUID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const KSUID_EPOCH_SECONDS = 1_400_000_000; // of the format, 2014-05-13

/** 27 characters in base 62: 32 bits of seconds, 128 random bits; sorts by time. */
function makeKsuid(nowMs: number): string {
  const bytes = randomBytes(20);
  bytes.writeUInt32BE(Math.max(0, Math.floor(nowMs / 1000) - KSUID_EPOCH_SECONDS), 0);
  let number = BigInt(`0x${bytes.toString("hex")}`);
  let id = "";
  for (let i = 0; i < 27; i++) {
    id = `${KSUID_ALPHABET[Number(number % 62n)]}${id}`;
    number /= 62n;
  }
  return id;
}

/** Characters of a set, each as likely as the others. */
function makeRangeId(length: number, characters: string): string {
  const set = [...characters];
  const fair = Math.floor(0x10000 / set.length) * set.length; // larger numbers would favour the first characters
  let id = "";
  for (let made = 0; made < length; ) {
    const bytes = randomBytes((length - made) * 2);
    for (let at = 0; at + 1 < bytes.length && made < length; at += 2) {
      const number = bytes.readUInt16BE(at);
      if (number >= fair) continue;
      id += set[number % set.length];
      made++;
    }
  }
  return id;
}
