/**
 * Signs an access token (RFC 9068) of what was granted.
 * Promise: its registered claims are the server's, and none is older than a revocation that covers it.
 * Source: docs/spec/tokens.md section 7.1.
 */
import { randomBytes } from "node:crypto";
import { sleep } from "../../base/clock.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { type Answer, textAnswer } from "../../plugin/plugin-answer.ts";
import type { AuthorizationServer, SigningNow } from "../../plugin/tokens.ts";
import type { Client } from "./client-authentication.ts";
import type { Granted } from "./client-grant.ts";
import { JSON_TYPE, NO_STORE, unavailable } from "./oauth-answers.ts";
import { NOT_BOUND, type TokenBinding } from "./token-binding.ts";

/** What becomes a token. */
export interface TokenContent {
  readonly client: Client;
  readonly granted: Granted;
  /** `sub` */
  readonly subject: string;
  readonly binding: TokenBinding;
  /** Who acts for the subject, where it is another (RFC 8693). */
  readonly act?: object | undefined;
  /** Of an exchange. */
  readonly issuedType?: string | undefined;
}

/** RSA signatures under way: a fifth of a second of one thread. */
const SIGNING_MAX = 512;

export function openTokenIssue(env: NodeEnv): (content: TokenContent, server: AuthorizationServer) => Promise<Answer> {
  let underWay = 0;
  return async (content, server) => {
    const algorithm = content.client.data.algorithm ?? server.terms.algorithms[0] ?? "ES256";
    const key = server.signer(algorithm);
    if (key === undefined) return unavailable(503, 1, "signing_key_missing");
    if (underWay >= SIGNING_MAX) return unavailable(503, 1, "signing_busy");
    underWay++;
    try {
      const issued = await dateFor(env, content, server, key);
      if (issued === undefined) return unavailable(503, 1, "client_revoked");
      const input = `${key.header}.${encode(claimsOf(content, server, issued))}`;
      const made = key.sign(input);
      const signature = Buffer.isBuffer(made) ? made : await made;
      return tokenAnswer(`${input}.${signature.toString("base64url")}`, content, server);
    } finally {
      underWay--;
    }
  };
}

/**
 * The second that the token is dated: now, or the next one from which on a revocation does not cover it.
 * @returns undefined when that is too far away
 */
async function dateFor(
  { clock, revocations }: NodeEnv,
  { client, subject }: TokenContent,
  server: AuthorizationServer,
  { kid }: SigningNow,
): Promise<number | undefined> {
  const now = Math.floor(clock.nowMs() / 1_000);
  if (revocations.generation === 0) return now;
  const { issuer } = server.terms;
  const found = revocations.find(
    {
      ...{ consumer: client.consumer.username, client: client.key, issuer, subject, keyId: kid },
      ...{ issuedAt: now, expires: undefined, id: undefined, checked: 0, fingerprint: undefined },
    },
    undefined,
  );
  if (found === undefined) return now;
  const from = found.type === "token" ? undefined : found.issuedBefore;
  const waitMs = from === undefined ? Number.POSITIVE_INFINITY : from * 1_000 - clock.nowMs();
  if (from === undefined || waitMs > 1_000) return undefined;
  await sleep(clock, Math.max(0, waitMs));
  return from;
}

const ID_BYTES = 16;
/** The system is asked for 256 ids at a time: once for each costs a tenth of its signature. */
const POOL_BYTES = 256 * ID_BYTES;
let pool = Buffer.alloc(0);
let poolAt = 0;

function makeId(): string {
  if (poolAt === pool.length) {
    pool = randomBytes(POOL_BYTES);
    poolAt = 0;
  }
  const end = poolAt + ID_BYTES;
  const id = pool.toString("base64url", poolAt, end);
  pool.fill(0, poolAt, end); // given once
  poolAt = end;
  return id;
}

function claimsOf(
  { client, granted, subject, binding, act }: TokenContent,
  server: AuthorizationServer,
  issued: number,
): object {
  const [audience] = granted.audiences;
  return {
    iss: server.terms.issuer,
    sub: subject,
    aud: granted.audiences.length === 1 ? audience : granted.audiences,
    client_id: client.key,
    iat: issued,
    exp: issued + granted.lifetimeSeconds,
    jti: makeId(),
    ...(granted.scope !== "" && { scope: granted.scope }),
    ...(binding !== NOT_BOUND && { cnf: binding }),
    ...(act !== undefined && { act }),
    ...client.data.claims,
  };
}

const HEADERS = [...JSON_TYPE, ...NO_STORE];

function tokenAnswer(
  token: string,
  { granted: { scope, lifetimeSeconds }, binding, issuedType }: TokenContent,
  server: AuthorizationServer,
): Answer {
  const type = binding.jkt === undefined ? "Bearer" : "DPoP";
  // The token needs no escapes; to look for them in it would cost more than the rest.
  const more = `${scope === "" ? "" : `,"scope":${JSON.stringify(scope)}`}${issuedType === undefined ? "" : `,"issued_token_type":"${issuedType}"`}`;
  const body = `{"access_token":"${token}","token_type":"${type}","expires_in":${lifetimeSeconds}${more}}`;
  // The next proof needs none of an earlier minute (RFC 9449 section 8.2).
  const nonce = binding.jkt === undefined ? undefined : server.dpopNonces?.current();
  return textAnswer(200, body, "token_issued", nonce === undefined ? HEADERS : [...HEADERS, "DPoP-Nonce", nonce]);
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value), "utf8").toString("base64url");
}
