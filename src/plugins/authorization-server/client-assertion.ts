/**
 * `private_key_jwt`: a client shows a short-lived assertion that it signed with a registered key (RFC 7523).
 * Promise: an assertion counts once in a node and for this server only; nothing in it chooses a key but its `kid` among the
 * client's own. Source: docs/spec/tokens.md section 7.2.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto";
import {
  KEY_PAIR_ALGORITHMS,
  type KeyPairAlgorithm,
  keyPairVerifier,
  RSA_LEAST_BITS,
  type Verifier,
} from "../../base/jose/algorithms.ts";
import { openTokenParser, type ParsedToken } from "../../base/jose/token.ts";
import type { AuthorizationServer, TokenKeys } from "../../plugin/tokens.ts";
import { TRIED_MAX } from "../oauth2-client/client-keys.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import type { Proof, Proven } from "./client-methods.ts";
import { TOKEN_PATH } from "./server-documents.ts";

export const ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const LIFE_MAX_SECONDS = 300;
const SKEW_SECONDS = 30;
const ID_MAX_CHARS = 256;
const TYPES: ReadonlySet<string | undefined> = new Set(["", "jwt", "client-authentication+jwt"]);
const parse = openTokenParser();

/** Whose assertion it claims to be; "": nobody's. */
export function assertedClient(assertion: string): string {
  const subject = parse(assertion)?.payload["sub"];
  return typeof subject === "string" ? subject : "";
}

export async function signsAssertion(proof: Proof, client: ClientData | undefined): Promise<Proven> {
  const { claimed, nowSeconds, server } = proof;
  const parsed = parse(claimed.secret);
  if (parsed === undefined || !TYPES.has(parsed.type)) return false;
  const { payload } = parsed;
  const own = (name: string): unknown => (Object.hasOwn(payload, name) ? payload[name] : undefined);
  const [exp, id] = [own("exp"), own("jti")];
  const isOwn = own("iss") === claimed.id && own("sub") === claimed.id;
  const isMeant = isForServer(own("aud"), server, proof.isStrict);
  const isTimely = isDate(exp) && exp + SKEW_SECONDS > nowSeconds && exp <= nowSeconds + LIFE_MAX_SECONDS;
  const isBegun = [own("nbf"), own("iat")].every(
    (time) => time === undefined || (isDate(time) && time <= nowSeconds + SKEW_SECONDS),
  );
  const isNamed = typeof id === "string" && id !== "" && id.length <= ID_MAX_CHARS;
  const isSigned = await isSignedBy(client?.keys, parsed);
  if (!isOwn || !isMeant || !isTimely || !isBegun || !isNamed || !isSigned) return false;
  const use = await proof.isFirst(`${claimed.id.length} ${claimed.id} ${id}`, exp + SKEW_SECONDS - nowSeconds);
  return use === "unchecked" ? use : use === "first";
}

function isDate(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

/** One text: an assertion for several servers could be shown to this one by another. */
function isForServer(aud: unknown, { terms, assertionAudience }: AuthorizationServer, isStrict: boolean): boolean {
  const [audience, ...more]: readonly unknown[] = Array.isArray(aud) ? aud : [aud];
  if (more.length > 0) return false;
  if (audience === terms.issuer) return true;
  const accepted = assertionAudience ?? (isStrict ? "issuer" : "issuer_or_token_endpoint");
  return accepted === "issuer_or_token_endpoint" && audience === `${terms.issuer}${TOKEN_PATH}`;
}

/** Whether a wrong one is an unknown client's or not, the same signatures are verified, by keys of the same size. */
async function isSignedBy(keys: TokenKeys | undefined, parsed: ParsedToken): Promise<boolean> {
  const { algorithm = "", keyId, signingInput, signature } = parsed;
  if (keyId !== undefined && typeof keyId !== "string") return false;
  let fitting = keys?.keys(algorithm, keyId) ?? [];
  if (typeof fitting === "string") {
    await keys?.wanted(keyId);
    fitting = keys?.keys(algorithm, keyId) ?? [];
  }
  const named = typeof fitting === "string" ? [] : fitting;
  const tried = named.filter(({ signatureBytes }) => signatureBytes === signature.length);
  if (tried.some((key) => key.verify(signingInput, signature))) return true;
  const instead = decoyFor(algorithm, signature.length);
  for (let at = tried.length; at < (keyId === undefined ? TRIED_MAX : 1); at++)
    instead?.verify(signingInput, signature);
  if (named.length > 0) keys?.doubted(keyId);
  return false;
}

const RSA_BYTES = { least: RSA_LEAST_BITS / 8, most: 1_024 };
const decoys = new Map<string, Verifier>();

/** Stands in for a key that a client does not have. @returns undefined where no key has such signatures */
function decoyFor(name: string, bytes: number): Verifier | undefined {
  const algorithm = KEY_PAIR_ALGORITHMS.find((one) => one === name);
  const id = `${name} ${bytes}`;
  const known = decoys.get(id);
  if (known !== undefined || algorithm === undefined) return known;
  const key = decoyKey(algorithm, bytes);
  if (key === undefined) return undefined;
  const made = keyPairVerifier(algorithm, key);
  decoys.set(id, made);
  return made;
}

function decoyKey(algorithm: KeyPairAlgorithm, bytes: number): KeyObject | undefined {
  switch (algorithm) {
    case "EdDSA":
      if (bytes === 64) return generateKeyPairSync("ed25519").publicKey;
      return bytes === 114 ? generateKeyPairSync("ed448").publicKey : undefined;
    case "ES256":
      return bytes === 64 ? generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey : undefined;
    case "ES384":
      return bytes === 96 ? generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey : undefined;
    case "ES512":
      return bytes === 132 ? generateKeyPairSync("ec", { namedCurve: "P-521" }).publicKey : undefined;
    default: {
      if (bytes < RSA_BYTES.least || bytes > RSA_BYTES.most) return undefined;
      const modulus = randomBytes(bytes); // verifying needs no primes, and finding some takes long
      modulus[0] = 0xc0 | (modulus[0] ?? 0);
      modulus[bytes - 1] = 1 | (modulus[bytes - 1] ?? 0);
      return createPublicKey({ key: { kty: "RSA", n: modulus.toString("base64url"), e: "AQAB" }, format: "jwk" });
    }
  }
}
