/**
 * A real issuer, a real node of two workers: from the four writes of docs/tokens.md to a refused token, and keys that
 * rotate while calls go on (G15).
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Load, startLoad } from "../../support/load.ts";
import { bounded } from "../../support/long-run.ts";
import { type OidcIssuer, oidcKey, openOidcIssuer } from "../../support/oidc-issuer.ts";
import { admin, type Node, startNode, until } from "../../support/process.ts";

const API = "https://api.example.com";
const [K1, K2, K3, R1] = [oidcKey("k1"), oidcKey("k2"), oidcKey("k3"), oidcKey("r1", "RS256")];

let node: Node;
let issuer: OidcIssuer;
let upstream: Server;

const put = async (path: string, body: object): Promise<void> => {
  const { status, body: said } = await admin(node, "PUT", path, body);
  if (status >= 300) throw new Error(`PUT ${path}: ${status} ${JSON.stringify(said)}`);
};
const call = (token: string | undefined, path = "/orders/1"): Promise<Response> =>
  fetch(`${node.gateway}${path}`, token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } });

beforeAll(async () => {
  upstream = createServer((request, response) => response.end(JSON.stringify(request.headers)));
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
  issuer = await openOidcIssuer();
  await issuer.start([K1]);
  node = await startNode("start", { args: ["--workers", "2", "--access-log-format", "json"] });
  const nodes = { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 };
  await put("/token_issuers/idp", { issuer: issuer.url, consumer_claim: "client_id", cooldown: 1 });
  await put("/consumers/shop", { username: "shop" });
  await put("/consumers/shop/credentials/orders", {
    plugins: { "access-token": { identity: "idp/orders-service" } },
  });
  const tokens = { issuers: ["idp"], audiences: [API], claim_headers: { "X-Client": "client_id" } };
  await put("/routes/writes", {
    ...{ uri: "/orders/writes", upstream: { nodes } },
    plugins: { "access-token": { ...tokens, required_scopes: ["orders.write"] } },
  });
  const apisix = { discovery: `${issuer.url}/.well-known/openid-configuration`, client_id: API, bearer_only: true };
  await put("/routes/apisix", {
    ...{ uri: "/apisix-record/*", upstream: { nodes } },
    plugins: {
      "openid-connect": {
        ...{ ...apisix, use_jwks: true, required_scopes: ["orders.read"] },
        claim_validator: { audience: { match_with_client_id: true } },
      },
    },
  });
  await put("/routes/orders?wait=all", { uri: "/orders/*", upstream: { nodes }, plugins: { "access-token": tokens } });
});
afterAll(async () => {
  await node?.stop();
  await issuer?.stop();
  upstream?.close();
});

describe("a token of a real issuer", () => {
  test("passes, and the upstream learns who calls", async () => {
    const answer = await call(await issuer.token(API));
    expect(answer.status).toBe(200);
    expect(await answer.json()).toMatchObject({ "x-consumer-username": "shop", "x-client": "orders-service" });
  });

  test.each([
    { says: "none", token: async () => undefined, status: 401, challenge: 'Bearer realm="api"' },
    {
      says: "for another API",
      token: () => issuer.token("https://other.example"),
      status: 401,
      challenge: /invalid_token/,
    },
    {
      says: "without the scope",
      token: () => issuer.token(API, "orders.read"),
      path: "/orders/writes",
      status: 403,
      challenge: 'Bearer realm="api", error="insufficient_scope", scope="orders.write"',
    },
    {
      says: "with another signature",
      token: async () => (await issuer.token(API)).replace(/.{6}$/, "AAAAAA"),
      status: 401,
      challenge: /invalid_token/,
    },
  ])("$says: $status", async ({ token, path, status, challenge }) => {
    const answer = await call(await token(), path);
    expect(answer.status).toBe(status);
    expect(answer.headers.get("www-authenticate")).toEqual(
      typeof challenge === "string" ? challenge : expect.stringMatching(challenge),
    );
    if (status === 403) expect((await call(await issuer.token(API, "orders.write"), path)).status).toBe(200);
  });

  test("is refused everywhere once it is revoked, and another one is not", async () => {
    const [token, other] = [await issuer.token(API), await issuer.token(API)];
    for (let i = 0; i < 10; i++) expect((await call(token)).status).toBe(200);
    for (let i = 0; i < 4; i++) expect((await call(token, "/apisix-record/1")).status).toBe(200);
    await admin(node, "POST", "/revocations?wait=all", { token });
    for (let i = 0; i < 10; i++) expect((await call(token)).status).toBe(401);
    for (let i = 0; i < 10; i++) expect((await call(token, "/apisix-record/1")).status).toBe(401);
    expect((await call(other)).status).toBe(200);
  });

  test("passes where a record of APISIX says how, and is refused as there", async () => {
    const token = await issuer.token(API);
    const answer = await call(token, "/apisix-record/1");
    expect(answer.status).toBe(200);
    const { "x-userinfo": userinfo, "x-access-token": sent } = (await answer.json()) as Record<string, string>;
    expect(sent).toBe(token);
    expect(JSON.parse(Buffer.from(userinfo ?? "", "base64").toString())).toMatchObject({ aud: API, iss: issuer.url });
    const scope = await call(await issuer.token(API, "orders.write"), "/apisix-record/1");
    expect([scope.status, (await scope.text()).trim()]).toEqual([
      403,
      '{"error":"required scopes orders.read not present"}',
    ]);
    expect((await call(await issuer.token("https://other.example"), "/apisix-record/1")).status).toBe(403);
    await until("the process that explains has the keys", async () => {
      const { body } = await admin(node, "POST", "/explain", { token, route: "apisix" });
      return (body as { verdict?: string }).verdict === "forwarded";
    });
  });

  test("ends with its consumer's credential", async () => {
    const token = await issuer.token(API);
    expect((await call(token)).status).toBe(200);
    await admin(node, "DELETE", "/consumers/shop/credentials/orders?wait=all");
    for (let i = 0; i < 6; i++) expect((await call(token)).status).toBe(403);
    await put("/consumers/shop/credentials/orders?wait=all", {
      plugins: { "access-token": { identity: "idp/orders-service" } },
    });
    expect((await call(token)).status).toBe(200);
  });

  test("shows nowhere in what the node writes", async () => {
    const token = await issuer.token("https://other.example");
    await call(token);
    await until("the refusal is logged", () => node.output().includes("access_token_wrong_audience"));
    for (const part of token.split(".").slice(1)) expect(node.output()).not.toContain(part);
  });
});

describe("keys of the issuer rotate under load, and no call is refused", () => {
  let load: Load;
  let token = "";
  const failed = async (): Promise<readonly string[]> => {
    await load.stop();
    return load.failures.map(({ wrong }) => wrong ?? "");
  };
  const begin = async (): Promise<void> => {
    token = await issuer.token(API);
    load = startLoad({
      targets: [{ name: "node", origin: node.gateway }],
      rate: bounded(100, 500),
      request: (n) => ({ path: `/orders/${n}`, headers: { authorization: `Bearer ${token}` } }),
    });
    await until("load", () => load.answered > 50);
  };
  /** The issuer was last asked a cooldown ago, whoever made the node ask. */
  const calm = (): Promise<unknown> => {
    const since = performance.now();
    return until("the cooldown is over", () => performance.now() - since > 1_100);
  };

  test.each([
    { says: "a new key at once, the old one still published", keys: [K2, K1], algorithm: "ES256" as const },
    { says: "another algorithm", keys: [R1, K2], algorithm: "RS256" as const },
    { says: "back, with a third key", keys: [K3, R1], algorithm: "ES256" as const },
  ])("$says", async ({ keys, algorithm }) => {
    await begin();
    await issuer.start(keys, algorithm);
    await calm();
    token = await issuer.token(API);
    const before = load.answered;
    await until("calls with the new key", () => load.answered > before + bounded(200, 5_000));
    expect(await failed()).toEqual([]);
  });

  test("a key that was withdrawn verifies nothing, remembered tokens included", async () => {
    const old = await issuer.token(API);
    expect((await call(old)).status).toBe(200);
    await issuer.start([K1]);
    await calm();
    const { status } = await until("a call that makes the node ask", async () => {
      const answer = await call(await issuer.token(API));
      if (answer.status !== 200) throw new Error(`answered ${answer.status}`);
      return answer;
    });
    expect(status).toBe(200);
    await until("every worker has the new set", async () => {
      const answers = await Promise.all(Array.from({ length: 10 }, () => call(old)));
      return answers.every((answer) => answer.status === 401);
    });
  });

  test("the issuer away refuses nobody it knew", async () => {
    const known = await issuer.token(API);
    await issuer.stop();
    for (const path of ["/orders/1", "/apisix-record/1"])
      for (let i = 0; i < 10; i++) expect((await call(known, path)).status).toBe(200);
  });
});
