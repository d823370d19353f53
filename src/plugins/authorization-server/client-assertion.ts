/**
 * `private_key_jwt`: a client shows a short-lived assertion that it signed with a registered key (RFC 7523).
 * Promise: an assertion counts once in a node and for this server only; nothing in it chooses a key but its `kid` among the
 * client's own. Source: docs/spec/tokens.md section 7.2.
 */
import { generateKeyPairSync } from "node:crypto";
import { keyPairVerifier, type Verifier } from "../../base/jose/algorithms.ts";
import { openTokenParser, type ParsedToken } from "../../base/jose/token.ts";
import type { AuthorizationServer, TokenKeys } from "../../plugin/tokens.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import type { Proof } from "./client-methods.ts";
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

export async function signsAssertion(proof: Proof, client: ClientData | undefined): Promise<boolean> {
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
  return proof.isFirst(`${claimed.id.length} ${claimed.id} ${id}`, exp + SKEW_SECONDS - nowSeconds);
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

async function isSignedBy(keys: TokenKeys | undefined, parsed: ParsedToken): Promise<boolean> {
  const { algorithm = "", keyId, signingInput, signature } = parsed;
  if (keyId !== undefined && typeof keyId !== "string") return false;
  if (keys === undefined) return decoy().verify(signingInput, signature) && false;
  let fitting = keys.keys(algorithm, keyId);
  if (typeof fitting === "string") {
    await keys.wanted(keyId);
    fitting = keys.keys(algorithm, keyId);
  }
  if (typeof fitting === "string") return false;
  if (fitting.some((key) => key.verify(signingInput, signature))) return true;
  keys.doubted(keyId);
  return false;
}

let decoyKey: Verifier | undefined;

/** Stands in for the key of a client that does not exist. */
function decoy(): Verifier {
  decoyKey ??= keyPairVerifier("ES256", generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey);
  return decoyKey;
}
