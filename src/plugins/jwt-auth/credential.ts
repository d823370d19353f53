/**
 * The consumer side of jwt-auth: schema, rules, the secret that is made when none is given, and the compiled credential.
 * Promise: the algorithm is the credential's; its key is a typed KeyObject before any request sees it.
 * Source: docs/spec/jwt-auth.md sections 1 and 9; `strict` refuses weak keys beyond it (docs/plugins/jwt-auth.md).
 */
import { type KeyObject, randomBytes } from "node:crypto";
import { type Static, Type } from "typebox";
import { CodedError, isCodedError, messageOf } from "../../base/errors.ts";
import {
  ALGORITHMS,
  type Algorithm,
  HMAC_ALGORITHMS,
  HmacKey,
  isHmac,
  isPair,
  KEY_PAIR_ALGORITHMS,
  type KeyPairAlgorithm,
  keyPairSigner,
  keyPairVerifier,
  privateKey,
  publicKey,
  type Signer,
  type Verifier,
} from "../../base/jose/algorithms.ts";
import { isSealed, looksLegacy } from "../../base/keyring.ts";
import { openLimitedWarn, type Warn } from "../../base/log.ts";
import { isReference } from "../../base/reference.ts";
import { type CredentialDefinition, Defaulted, type NodeEnv, type WriteContext } from "../../plugin/plugin.ts";
import { mintToken } from "./mint-token.ts";
import { rotateKey } from "./rotate-key.ts";

const KeyId = Type.String({ minLength: 1, maxLength: 256 });

/** A key of which the caller may still hold tokens; the same algorithm as the current one. */
const PreviousKey = Type.Object(
  {
    secret: Type.Optional(Type.String({ minLength: 1 })),
    public_key: Type.Optional(Type.String()),
    kid: Type.Optional(KeyId),
    not_after: Type.Integer({ minimum: 0 }),
  },
  { additionalProperties: false },
);

const ConsumerConf = Type.Object(
  {
    key: Type.String({ minLength: 1 }),
    secret: Type.Optional(Type.String({ minLength: 1 })),
    algorithm: Defaulted(Type.Unsafe<Algorithm>({ type: "string", enum: ALGORITHMS, default: "HS256" })),
    exp: Defaulted(Type.Integer({ minimum: 1, default: 86_400 })),
    base64_secret: Defaulted(Type.Boolean({ default: false })),
    lifetime_grace_period: Defaulted(Type.Integer({ minimum: 0, default: 0 })),
    public_key: Type.Optional(Type.String()),
    private_key: Type.Optional(Type.String()),
    kid: Type.Optional(KeyId),
    previous_keys: Type.Optional(Type.Array(PreviousKey, { maxItems: 3 })),
  },
  {
    dependencies: {
      algorithm: {
        oneOf: [
          { properties: { algorithm: { enum: HMAC_ALGORITHMS } } },
          {
            properties: { public_key: { type: "string" }, algorithm: { enum: KEY_PAIR_ALGORITHMS } },
            required: ["public_key"],
          },
        ],
      },
    },
  },
);
type ConsumerConf = Static<typeof ConsumerConf>;

interface PreviousVerifier {
  readonly verifier: Verifier;
  readonly kid: string | undefined;
  /** NumericDate from which on it verifies nothing. */
  readonly notAfter: number;
}

const NO_PREVIOUS: readonly PreviousVerifier[] = Object.freeze([]);

/** A credential ready to verify and sign with. */
export interface JwtCredential {
  readonly algorithm: Algorithm;
  /** Seconds; `lifetime_grace_period`. */
  readonly graceSeconds: number;
  /** Seconds a signed token lives; `exp`. */
  readonly lifetimeSeconds: number;
  /** undefined when the secret turned out to be no base64: no token can ever be right. */
  readonly verifier: Verifier | undefined;
  /** Name of the key; undefined: it has none. */
  readonly kid: string | undefined;
  /** Tried in turn after `verifier`, each until its second; mostly none. */
  readonly previous: readonly PreviousVerifier[];
  /** "incomplete": a key or a decodable secret is missing; "unusable": the private key cannot be used. */
  readonly signer: Signer | "incomplete" | "unusable";
  /** The public key as configured, for the header of RS and ES tokens; of a private key its public half. */
  readonly publicKeyText: string | undefined;
}

export const jwtCredential: CredentialDefinition<typeof ConsumerConf, JwtCredential> = {
  schema: ConsumerConf,
  keyAttribute: "key",
  encryptFields: ["secret", "private_key", "previous_keys.secret"],
  hiddenFields: ["key"], // whoever knows it is given a token by an open sign endpoint
  check: (conf, write) => checkConf(conf, write) ?? previousError(conf, write),
  prepare: prepareConf,
  rotate: rotateKey,
  mint: mintToken,
  doubt: secretDoubt,
  compile: compileConf,
};

const GENERATED_SECRET_BYTES = 32;
const EMPTY = "the secret is empty";
const NO_PAIR = "private_key does not belong to public_key";
const NO_BASE64 = "base64_secret required but the secret is not in base64 format";
/** RFC 7518 section 3.2: a key is at least as long as the hash. */
const LEAST_SECRET_BYTES: Readonly<Record<string, number>> = { HS256: 32, HS384: 48, HS512: 64 };

function checkConf(conf: ConsumerConf, write?: WriteContext): string | undefined {
  const { secret, public_key: pem } = conf;
  const algorithm = conf.algorithm ?? "HS256";
  if (isReference(algorithm)) return undefined;
  if (secret !== undefined && !isReference(secret)) {
    const bytes = secretBytes(secret, conf.base64_secret);
    if (!bytes) return NO_BASE64;
    if (isHmac(algorithm)) {
      if (bytes.length === 0) return EMPTY;
      if (write?.compat === "strict" && isShort(algorithm, bytes)) return shortText(algorithm, bytes);
    }
  }
  if (isHmac(algorithm)) {
    return secret === undefined ? 'property "secret" is required when using HS based algorithms' : undefined;
  }
  if (pem === undefined || isReference(pem)) return undefined;
  try {
    const { key, weakness } = publicKey(algorithm, pem);
    if (write?.compat === "strict" && weakness !== undefined) return weakness;
    return write && signingKeyError(algorithm, conf.private_key, key);
  } catch (error) {
    if (isCodedError(error)) return error.message;
    throw error;
  }
}

/** Of a secret that `strict` refuses. */
function secretDoubt({ algorithm = "HS256", secret, base64_secret: isBase64 }: Record<string, unknown>) {
  const named = HMAC_ALGORITHMS.find((one) => one === algorithm);
  if (named === undefined || typeof secret !== "string" || isReference(secret) || isSealed(secret)) return undefined;
  const bytes = secretBytes(secret, isBase64 === true);
  return bytes && isShort(named, bytes) ? shortText(named, bytes) : undefined;
}

/** Former keys are held to what holds for the current one. */
function previousError(conf: ConsumerConf, write?: WriteContext): string | undefined {
  const algorithm = conf.algorithm ?? "HS256";
  if (isReference(algorithm)) return undefined;
  const kids = [conf, ...(conf.previous_keys ?? [])].flatMap(({ kid }) => kid ?? []);
  if (new Set(kids).size < kids.length) return "kid: two of its keys have the same";
  const [wanted, other] = isHmac(algorithm) ? (["secret", "public_key"] as const) : (["public_key", "secret"] as const);
  for (const [i, { not_after: _, kid: _n, ...key }] of (conf.previous_keys ?? []).entries()) {
    const where = `previous_keys ${i + 1}`;
    if (key[wanted] === undefined || key[other] !== undefined) return `${where}: ${wanted} is needed with ${algorithm}`;
    const { secret: _s, public_key: _p, private_key: _k, previous_keys: _o, ...rest } = conf;
    const error = checkConf({ ...rest, ...key }, write);
    if (error !== undefined) return `${where}: ${error}`;
  }
  return undefined;
}

/**
 * Asked when it is written only: verifying does not need it, so a stored one that cannot be used leaves the credential of use.
 * What is sealed was read when it was given.
 */
function signingKeyError(algorithm: KeyPairAlgorithm, pem: string | undefined, pub: KeyObject): string | undefined {
  if (pem === undefined || pem === "" || isReference(pem) || isSealed(pem) || looksLegacy(pem)) return undefined;
  return isPair(privateKey(algorithm, pem), pub) ? undefined : NO_PAIR;
}

/** Gives an HMAC consumer without secret the one it had, or a new one of 44 base64 characters; not in `strict`. */
function prepareConf(
  conf: Record<string, unknown>,
  previous: Record<string, unknown> | undefined,
  write?: WriteContext,
): Record<string, unknown> {
  const { algorithm = "HS256", secret } = conf;
  if (secret !== undefined || write?.compat === "strict") return conf;
  if (typeof algorithm !== "string" || !HMAC_ALGORITHMS.some((name) => name === algorithm)) return conf;
  const kept = previous?.["secret"];
  const fits =
    typeof kept === "string" &&
    kept !== "" &&
    (isReference(kept) || secretBytes(kept, conf["base64_secret"] === true) !== undefined);
  return { ...conf, secret: fits ? kept : randomBytes(GENERATED_SECRET_BYTES).toString("base64") };
}

function compileConf(conf: ConsumerConf, env: NodeEnv): JwtCredential {
  const { algorithm } = conf;
  if (!isHmac(algorithm)) {
    const pem = conf.public_key ?? "";
    const { key, text, weakness } = publicKey(algorithm, pem);
    if (weakness !== undefined) refuseOrWarn(env, weakness);
    return made(conf, keyPairVerifier(algorithm, key), compileSigner(algorithm, conf.private_key, key, env), text);
  }
  const secret = conf.secret ?? "";
  const bytes = secretBytes(secret, conf.base64_secret);
  if (!bytes) {
    warn(env, NO_BASE64);
    return made(conf, undefined, "incomplete", undefined);
  }
  if (bytes.length === 0) throw new CodedError("RECORD_INVALID", { message: EMPTY });
  if (isShort(algorithm, bytes)) refuseOrWarn(env, shortText(algorithm, bytes));
  const key = new HmacKey(algorithm, secret, conf.base64_secret);
  return made(conf, key, key, undefined);
}

function refuseOrWarn(env: NodeEnv, message: string): void {
  if (env.settings.compat === "strict") throw new CodedError("RECORD_INVALID", { message });
  warn(env, message);
}

/** One literal for all, so that a million of them share one shape. */
function made(
  conf: ConsumerConf,
  verifier: Verifier | undefined,
  signer: JwtCredential["signer"],
  publicKeyText: string | undefined,
): JwtCredential {
  return Object.freeze({
    algorithm: conf.algorithm,
    graceSeconds: conf.lifetime_grace_period,
    lifetimeSeconds: conf.exp,
    verifier,
    kid: conf.kid,
    previous: conf.previous_keys === undefined ? NO_PREVIOUS : compilePrevious(conf, conf.previous_keys),
    signer,
    publicKeyText,
  });
}

function compilePrevious(conf: ConsumerConf, keys: readonly Static<typeof PreviousKey>[]): readonly PreviousVerifier[] {
  const { algorithm } = conf;
  return keys.map(({ secret = "", public_key: pem = "", kid, not_after: notAfter }) => ({
    verifier: isHmac(algorithm)
      ? new HmacKey(algorithm, secret, conf.base64_secret)
      : keyPairVerifier(algorithm, publicKey(algorithm, pem).key),
    kid,
    notAfter,
  }));
}

function compileSigner(
  algorithm: KeyPairAlgorithm,
  pem: string | undefined,
  pub: KeyObject,
  env: NodeEnv,
): JwtCredential["signer"] {
  if (pem === undefined || pem === "") return "incomplete";
  try {
    const key = privateKey(algorithm, pem);
    if (isPair(key, pub)) return keyPairSigner(algorithm, key);
    warn(env, NO_PAIR);
  } catch (error) {
    // Verifying does not need it, so the credential stays of use.
    warn(env, messageOf(error));
  }
  return "unusable";
}

/** @returns undefined when it should be base64 and is not. Read as nginx reads it: padding may be missing. */
function secretBytes(secret: string, isBase64: boolean | undefined): Buffer | undefined {
  if (isBase64 !== true) return Buffer.from(secret, "utf8");
  const digits = secret.replace(/=+$/, "");
  return /^[A-Za-z0-9+/]*$/.test(digits) && digits.length % 4 !== 1 ? Buffer.from(digits, "base64") : undefined;
}

function isShort(algorithm: Algorithm, bytes: Buffer): boolean {
  return bytes.length < (LEAST_SECRET_BYTES[algorithm] ?? 0);
}

function shortText(algorithm: Algorithm, bytes: Buffer): string {
  return `the secret has ${bytes.length} bytes, ${algorithm} needs at least ${LEAST_SECRET_BYTES[algorithm]}`;
}

// Keyed by what lives as long as the node, so that nothing is shared between nodes of one process.
const warnings = new WeakMap<NodeEnv["states"], Warn>();

function warn(env: NodeEnv, message: string): void {
  const known = warnings.get(env.states) ?? openLimitedWarn(env.log, env.clock);
  warnings.set(env.states, known);
  known({ plugin: "jwt-auth" }, message);
}
