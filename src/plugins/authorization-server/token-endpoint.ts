/**
 * The token endpoint: method, type, parameters, client, grant, target, scope, signature, in this order.
 * Promise: a token lives no longer and reaches no further than client and server allow, its registered claims are the
 * server's, and none is older than a revocation that covers it. Sources: RFC 6749, RFC 9068, docs/spec/tokens.md section 7.1.
 */
import { randomBytes } from "node:crypto";
import { sleep } from "../../base/clock.ts";
import { isCodedError } from "../../base/errors.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import { type Answer, textAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { AuthorizationServer, SigningNow } from "../../plugin/signers.ts";
import { CLIENT_CREDENTIALS } from "../oauth2-client/client-schema.ts";
import type { ClientData } from "../oauth2-client/oauth2-client.ts";
import { authenticate, type Client } from "./client-authentication.ts";
import { type Granted, grantOf } from "./client-grant.ts";
import { type FailureLimits, openFailureLimits } from "./failure-limits.ts";
import { errorAnswer, invalidRequest, JSON_TYPE, NO_STORE, unavailable } from "./oauth-answers.ts";
import { FORM_MAX_BYTES, isForm, readForm } from "./token-request.ts";

type TokenEndpoint = (view: RequestView, server: AuthorizationServer) => Promise<Answer>;

/** RSA signatures under way: a fifth of a second of one thread. */
const SIGNING_MAX = 512;
const TOO_LARGE = errorAnswer(413, "invalid_request", "The body is above 32 KiB", [], "request_too_large");
const NO_FORM = invalidRequest("Content-Type is not application/x-www-form-urlencoded");
const NO_GRANT = invalidRequest("grant_type is missing");
const OTHER_GRANT = errorAnswer(400, "unsupported_grant_type", "The only grant type here is client_credentials");
const NOT_ITS_GRANT = errorAnswer(400, "unauthorized_client", "The client may not use this grant type");

export function openTokenEndpoint(env: NodeEnv): TokenEndpoint {
  const { clock } = env;
  const limits = limitsOf(env);
  const table = env.credentials<ClientData>("oauth2-client");
  const tokens = env.metrics.counter("jotgate_token_endpoint_total", "Answers of token endpoints", [
    ...["grant", "outcome"],
  ]);
  const clients = env.metrics.counter("jotgate_client_authentication_total", "Clients at token endpoints", [
    ...["method", "outcome"],
  ]);
  let underWay = 0;

  const answerFor = async (view: RequestView, server: AuthorizationServer): Promise<Answer> => {
    if (!isForm(view.header("content-type"))) return NO_FORM;
    const body = await readBody(view);
    if (body === undefined) return TOO_LARGE;
    const form = readForm(body);
    if (typeof form === "string") return invalidRequest(form);
    const grant = form.get("grant_type");
    if (grant === undefined) return NO_GRANT;
    const { issuer } = server.terms;
    const client = await authenticate(view, form, {
      ...{ table, limits, server: server.id, issuer, nowSeconds: clock.nowMs() / 1_000 },
      counted: (method, outcome) => clients.child(method, outcome).inc(),
    });
    if ("status" in client) return client;
    view.consumer = client.consumer;
    view.credentialId = client.credentialId;
    if (grant !== CLIENT_CREDENTIALS) return OTHER_GRANT;
    if (!client.data.grants.has(grant)) return NOT_ITS_GRANT;
    const granted = grantOf(form, client.data, server);
    if ("status" in granted) return granted;
    return issue(client, granted, server);
  };

  const issue = async (client: Client, granted: Granted, server: AuthorizationServer): Promise<Answer> => {
    const algorithm = client.data.algorithm ?? server.terms.algorithms[0] ?? "ES256";
    const key = server.signer(algorithm);
    if (key === undefined) return unavailable(503, 1, "signing_key_missing");
    if (underWay >= SIGNING_MAX) return unavailable(503, 1, "signing_busy");
    underWay++;
    try {
      const issued = await dateFor(env, client, server, key);
      if (issued === undefined) return unavailable(503, 1, "client_revoked");
      const input = `${key.header}.${encode(claimsOf(client, granted, server, issued))}`;
      const made = key.sign(input);
      const signature = Buffer.isBuffer(made) ? made : await made;
      const token = `${input}.${signature.toString("base64url")}`;
      return tokenAnswer(token, granted);
    } finally {
      underWay--;
    }
  };

  return async (view, server) => {
    const answer = await answerFor(view, server);
    tokens.child(CLIENT_CREDENTIALS, answer.reason).inc();
    return answer;
  };
}

// Keyed by what lives as long as the node: all routes count together, nodes of one process do not.
const limitsByNode = new WeakMap<NodeEnv["states"], FailureLimits>();

function limitsOf({ states, clock }: NodeEnv): FailureLimits {
  const known = limitsByNode.get(states) ?? openFailureLimits(clock);
  limitsByNode.set(states, known);
  return known;
}

/** @returns undefined when it is too large */
async function readBody(view: RequestView): Promise<Buffer | undefined> {
  if ((view.body.length ?? 0) > FORM_MAX_BYTES) return undefined;
  try {
    return await view.body.read(FORM_MAX_BYTES);
  } catch (error) {
    if (isCodedError(error, "REQUEST_TOO_LARGE")) return undefined;
    throw error;
  }
}

/**
 * The second that the token is dated: now, or the next one from which on a revocation does not cover it.
 * @returns undefined when that is too far away
 */
async function dateFor(
  { clock, revocations }: NodeEnv,
  client: Client,
  server: AuthorizationServer,
  { kid }: SigningNow,
): Promise<number | undefined> {
  const now = Math.floor(clock.nowMs() / 1_000);
  if (revocations.generation === 0) return now;
  const { issuer } = server.terms;
  const found = revocations.find(
    {
      ...{ consumer: client.consumer.username, client: client.key, issuer, subject: client.key, keyId: kid },
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

function claimsOf(client: Client, granted: Granted, server: AuthorizationServer, issued: number): object {
  const [audience] = granted.audiences;
  return {
    iss: server.terms.issuer,
    sub: client.key,
    aud: granted.audiences.length === 1 ? audience : granted.audiences,
    client_id: client.key,
    iat: issued,
    exp: issued + granted.lifetimeSeconds,
    jti: randomBytes(ID_BYTES).toString("base64url"),
    ...(granted.scope !== "" && { scope: granted.scope }),
    ...client.data.claims,
  };
}

function tokenAnswer(token: string, { scope, lifetimeSeconds }: Granted): Answer {
  const body = {
    ...{ access_token: token, token_type: "Bearer", expires_in: lifetimeSeconds },
    ...(scope !== "" && { scope }),
  };
  return textAnswer(200, JSON.stringify(body), "token_issued", [...JSON_TYPE, ...NO_STORE]);
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value), "utf8").toString("base64url");
}
