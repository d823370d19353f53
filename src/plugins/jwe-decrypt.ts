/**
 * jwe-decrypt: a header that holds a token encrypted with a consumer's key (JWE, `dir` with A256GCM) goes upstream in plain text.
 * Promise: with a token, what goes upstream under `forward_header` was decrypted here; a request that may do without one goes on as it
 * came, as in APISIX, but in compat strict without that header; who the caller is it does not say.
 * Source: APISIX 3.18 jwe-decrypt, whose nodes take and make tokens that leave the header unauthenticated; RFC 7516.
 */
import { createDecipheriv, createSecretKey, type KeyObject } from "node:crypto";
import { type Static, Type } from "typebox";
import { CodedError } from "../base/errors.ts";
import { parseMembers } from "../base/json/members.ts";
import { isReference } from "../base/reference.ts";
import { isHeaderValue } from "../plugin/caller-identity.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { type Answer, jsonAnswer } from "../plugin/plugin-answer.ts";
import { foldHeaderName, headerError } from "./shared/header-operations.ts";

const schema = Type.Object({
  header: Defaulted(Type.String({ default: "Authorization" })),
  forward_header: Defaulted(Type.String({ default: "Authorization" })),
  strict: Defaulted(Type.Boolean({ default: true })),
});

const consumerSchema = Type.Object({
  key: Type.String(),
  secret: Type.String(),
  is_base64_encoded: Type.Optional(Type.Boolean()),
});
type ConsumerConf = Static<typeof consumerSchema>;

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16; // shorter ones could be guessed

const MISSING = jsonAnswer(403, { message: "missing JWE token in request" }, "jwe_missing");
const INVALID = jsonAnswer(400, { message: "JWE token invalid" }, "jwe_invalid");
const NO_KID = jsonAnswer(400, { message: "missing kid in JWE token" }, "jwe_no_kid");
const UNKNOWN_KID = jsonAnswer(400, { message: "invalid kid in JWE token" }, "jwe_unknown_kid");
const UNDECRYPTED = jsonAnswer(400, { message: "failed to decrypt JWE token" }, "jwe_undecrypted");

export const jweDecrypt = definePlugin({
  name: "jwe-decrypt",
  version: 0.1,
  priority: 2509,
  explain: "run",
  schema,
  credential: {
    schema: consumerSchema,
    keyAttribute: "key",
    encryptFields: ["key", "secret"],
    check: (conf) => (isReference(conf.secret) ? undefined : secretError(conf)),
    compile(conf): KeyObject {
      const error = secretError(conf);
      if (error !== undefined) throw new CodedError("RECORD_INVALID", { message: error });
      return createSecretKey(bytesOfSecret(conf) as Buffer); // true: no error
    },
  },
  check: ({ header, forward_header: forwarded }) => headerError(header, "") ?? headerError(forwarded, ""),
  compile(conf, env) {
    const table = env.credentials<KeyObject>("jwe-decrypt");
    const lower = conf.header.toLowerCase();
    const forwarded = foldHeaderName(conf.forward_header);
    // APISIX authenticates no header; where nobody needs its tokens, the standard's alone are taken.
    const isLoose = env.settings.compat !== "strict";
    return {
      rewrite(view) {
        const sent = view.headers.only(lower);
        if (sent === undefined && conf.strict) return MISSING;
        if (sent === undefined && isLoose) return undefined;
        // Nobody says upstream what was not decrypted here.
        view.headers.removeWhere((name) => name !== lower && foldHeaderName(name) === forwarded);
        if (sent === undefined) return undefined;
        const token = sent === null ? undefined : readToken(sent.replace(/^bearer +/i, ""));
        if (!token) return INVALID;
        const { kid } = token.header;
        if (typeof kid !== "string") return NO_KID;
        const forward = (key: KeyObject | undefined): Answer | undefined => {
          if (!key) return UNKNOWN_KID;
          const text = decrypt(token, key, true) ?? (isLoose ? decrypt(token, key, false) : undefined);
          if (text === undefined || !isHeaderValue(text)) return UNDECRYPTED;
          view.headers.set(conf.forward_header, text);
          return undefined;
        };
        const found = table.get(kid);
        const pending = found ? undefined : table.resolvePending();
        return pending === undefined ? forward(found?.data) : pending.then(() => forward(table.get(kid)?.data));
      },
    };
  },
});

function bytesOfSecret({ secret, is_base64_encoded: isEncoded }: ConsumerConf): Buffer | undefined {
  if (!isEncoded) return Buffer.from(secret);
  return /^[\w+/-]*={0,2}$/.test(secret) ? Buffer.from(secret, "base64url") : undefined;
}

function secretError(conf: ConsumerConf): string | undefined {
  if (bytesOfSecret(conf)?.length === KEY_BYTES) return undefined;
  return `the secret length ${conf.is_base64_encoded ? "after base64 decode " : ""}should be ${KEY_BYTES} chars`;
}

interface EncryptedToken {
  readonly header: Readonly<Record<string, unknown>>;
  /** As it came: what authenticates the header. */
  readonly headerText: string;
  readonly iv: Buffer;
  readonly text: Buffer;
  readonly tag: Buffer;
}

/** The compact form, without an encrypted key; undefined for any other text. */
function readToken(compact: string): EncryptedToken | undefined {
  const [, headerText, iv, text, tag] = /^([\w-]+)\.\.([\w-]+)\.([\w-]*)\.([\w-]+)$/.exec(compact) ?? [];
  if (headerText === undefined || iv === undefined || text === undefined || tag === undefined) return undefined;
  const header = parseMembers(Buffer.from(headerText, "base64url").toString());
  if (header?.["alg"] !== "dir" || header["enc"] !== "A256GCM") return undefined;
  if ("zip" in header || "crit" in header) return undefined;
  const [ivBytes, tagBytes] = [Buffer.from(iv, "base64url"), Buffer.from(tag, "base64url")];
  if (ivBytes.length !== IV_BYTES || tagBytes.length !== TAG_BYTES) return undefined;
  return { header, headerText, iv: ivBytes, text: Buffer.from(text, "base64url"), tag: tagBytes };
}

/** Its bytes as a header carries them; undefined where the key is another, or something was changed. */
function decrypt(
  { headerText, iv, text, tag }: EncryptedToken,
  key: KeyObject,
  withHeader: boolean,
): string | undefined {
  const decipher = createDecipheriv("aes-256-gcm", key, iv, { authTagLength: TAG_BYTES });
  if (withHeader) decipher.setAAD(Buffer.from(headerText));
  decipher.setAuthTag(tag);
  const plain = decipher.update(text);
  try {
    decipher.final();
    return plain.toString("latin1");
  } catch {
    return undefined;
  }
}
