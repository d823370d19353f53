/**
 * Bound tokens on a real node of two workers, with oauth4webapi as the strict client and as judge of our tokens, and the
 * command line `jotgate token` beside it.
 */
import { createHash, randomUUID, X509Certificate } from "node:crypto";
import { createServer, type Server } from "node:http";
import { connect } from "node:http2";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import * as oauth from "oauth4webapi";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { main } from "../../../src/cli/main.ts";
import { type Authority, openAuthority, type Pair } from "../../support/authority.ts";
import { dpopKey, proofFor } from "../../support/dpop.ts";
import { freePort } from "../../support/ports.ts";
import { ADMIN_KEY, admin, type Node, startNode } from "../../support/process.ts";

const API = "https://api.example.com";
const LOCAL = { [oauth.allowInsecureRequests]: true };

let node: Node;
let upstream: Server;
let secret = "";
let tlsPort = 0;
let server: oauth.AuthorizationServer;
const client: oauth.Client = { client_id: "batch" };

const put = async (path: string, body: object): Promise<Record<string, unknown>> => {
  const { status, body: said } = await admin(node, "PUT", path, body);
  if (status >= 300) throw new Error(`PUT ${path}: ${status} ${JSON.stringify(said)}`);
  return said as Record<string, unknown>;
};

beforeAll(async () => {
  upstream = createServer((request, response) => response.end(JSON.stringify(request.headers)));
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
  tlsPort = await freePort();
  node = await startNode("start", { args: ["--workers", "2", "--gateway-tls-listen", `127.0.0.1:${tlsPort}`] });
  await put("/authorization_servers/main", { issuer: node.gateway });
  await put("/routes/auth", {
    uris: ["/oauth2/*", "/.well-known/*"],
    plugins: { "authorization-server": { id: "main" } },
  });
  await put("/consumers/shop", { username: "shop" });
  const conf = { client_id: "batch", scope: "orders.read", audiences: [API] };
  const made = await put("/consumers/shop/credentials/batch", { plugins: { "oauth2-client": conf } });
  secret = (made["generated"] as { readonly client_secret: string }).client_secret;
  await put("/routes/orders?wait=all", {
    uri: "/orders/*",
    plugins: { "access-token": { authorization_servers: ["main"], audiences: [API], dpop: "optional" } },
    upstream: { nodes: { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 } },
  });
  const url = new URL(node.gateway);
  const found = await oauth.discoveryRequest(url, LOCAL);
  server = await oauth.processDiscoveryResponse(url, found);
});
afterAll(async () => {
  await node?.stop();
  upstream?.close();
});

async function grant(more: object): Promise<oauth.TokenEndpointResponse> {
  const parameters = new URLSearchParams({ scope: "orders.read" });
  const how = oauth.ClientSecretBasic(secret);
  const response = await oauth.clientCredentialsGrantRequest(server, client, how, parameters, { ...LOCAL, ...more });
  return oauth.processClientCredentialsResponse(server, client, response);
}

describe("oauth4webapi", () => {
  test.each(["ES256", "EdDSA", "RS256", "PS256"])(
    "gets and uses a token that is bound to its %s key",
    async (algorithm) => {
      const handle = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
      const { access_token: token, token_type: type } = await grant({ DPoP: handle });
      expect(type).toBe("dpop");
      const url = new URL("/orders/1?page=2", node.gateway);
      const use = (by: oauth.DPoPHandle): Promise<Response> =>
        oauth.protectedResourceRequest(token, "GET", url, undefined, null, { ...LOCAL, DPoP: by });
      for (let i = 0; i < 4; i++) expect((await use(handle)).status).toBe(200);
      const thief = oauth.DPoP(client, await oauth.generateKeyPair(algorithm));
      await expect(use(thief)).rejects.toMatchObject({ status: 401, cause: [{ scheme: "dpop" }] });
      const bearer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
      expect(bearer.status).toBe(401);
    },
  );

  test("takes our tokens as those of RFC 9068, bound and not", async () => {
    const key = dpopKey();
    const url = `${API}/orders/1`;
    const judge = (headers: Record<string, string>, more = {}) =>
      oauth.validateJwtAccessToken(server, new Request(url, { headers }), API, { ...LOCAL, ...more });
    const { access_token: plain } = await grant({});
    expect(await judge({ authorization: `Bearer ${plain}` })).toMatchObject({
      client_id: "batch",
      scope: "orders.read",
    });
    const proof = proofFor({ method: "POST", url: `${node.gateway}/oauth2/token`, now: Date.now() / 1_000 }, { key });
    const answer = await fetch(`${node.gateway}/oauth2/token`, {
      method: "POST",
      headers: { authorization: `Basic ${Buffer.from(`batch:${secret}`).toString("base64")}`, dpop: proof },
      body: new URLSearchParams({ grant_type: "client_credentials" }),
    });
    const { access_token: token } = (await answer.json()) as { readonly access_token: string };
    const shown = proofFor({ url, token, now: Math.floor(Date.now() / 1_000) }, { key });
    const claims = await judge({ authorization: `DPoP ${token}`, dpop: shown }, { requireDPoP: true });
    expect(claims.cnf).toEqual({ jkt: key.jkt });
  });
});

describe("a client that knows only the API", () => {
  const url = (): URL => new URL("/tools", node.gateway);
  beforeAll(async () => {
    const plugin = {
      ...{ authorization_servers: ["main"], audiences: [API], required_scopes: ["orders.read"], dpop: "optional" },
      ...{ resource: url().href, resource_metadata: true },
    };
    await put("/routes/tools?wait=all", {
      uris: ["/tools", "/.well-known/oauth-protected-resource/tools"],
      plugins: { "multi-auth": { auth_plugins: [{ "key-auth": {} }, { "access-token": plugin }] } },
      upstream: { nodes: { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 } },
    });
  });

  test("finds the issuer by the challenge, gets a token there, and is served", async () => {
    const refused = await fetch(url());
    expect(refused.status).toBe(401);
    const named = /resource_metadata="([^"]+)"/.exec(refused.headers.get("www-authenticate") ?? "")?.[1];
    expect(named).toBe(new URL("/.well-known/oauth-protected-resource/tools", node.gateway).href);
    const resource = await oauth.processResourceDiscoveryResponse(
      url(),
      await oauth.resourceDiscoveryRequest(url(), LOCAL),
    );
    expect(resource).toMatchObject({ scopes_supported: ["orders.read"], bearer_methods_supported: ["header"] });
    const issuer = new URL(resource.authorization_servers?.[0] ?? "");
    const found = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, LOCAL));
    const response = await oauth.clientCredentialsGrantRequest(
      ...[found, client, oauth.ClientSecretBasic(secret), new URLSearchParams({ scope: "orders.read" }), LOCAL],
    );
    const { access_token: token } = await oauth.processClientCredentialsResponse(found, client, response);
    expect((await fetch(url(), { headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
  });
});

describe("a proof", () => {
  const key = dpopKey();
  let token = "";
  const call = async (proof: string, headers: Record<string, string> = {}): Promise<number> => {
    const answer = await fetch(`${node.gateway}/orders/1`, {
      headers: { authorization: `DPoP ${token}`, dpop: proof, connection: "close", ...headers }, // any worker
    });
    await answer.text();
    return answer.status;
  };
  const made = (claims = {}): string =>
    proofFor({ url: `${node.gateway}/orders/1`, token, now: Math.floor(Date.now() / 1_000) }, { key, claims });

  beforeAll(async () => {
    const proof = proofFor({ method: "POST", url: `${node.gateway}/oauth2/token`, now: Date.now() / 1_000 }, { key });
    const response = await fetch(`${node.gateway}/oauth2/token`, {
      method: "POST",
      headers: { authorization: `Basic ${Buffer.from(`batch:${secret}`).toString("base64")}`, dpop: proof },
      body: new URLSearchParams({ grant_type: "client_credentials" }),
    });
    token = ((await response.json()) as { readonly access_token: string }).access_token;
  });

  test("passes once in the node, on the same worker and on the other, one after the other and at once", async () => {
    for (let round = 0; round < 4; round++) {
      const [one, other] = [made(), made({ jti: randomUUID() })];
      const inTurn: number[] = [];
      for (let i = 0; i < 8; i++) inTurn.push(await call(one));
      expect(inTurn).toEqual([200, 401, 401, 401, 401, 401, 401, 401]);
      const atOnce = await Promise.all(Array.from({ length: 8 }, () => call(other)));
      expect(atOnce.sort()).toEqual([200, 401, 401, 401, 401, 401, 401, 401]);
    }
  });

  test("for the host that a stranger's header names is refused", async () => {
    const headers = { "x-forwarded-host": "api.example.com", "x-forwarded-proto": "https" };
    const ath = createHash("sha256").update(token).digest("base64url");
    expect(await call(made({ htu: "https://api.example.com/orders/1", ath }), headers)).toBe(401);
    expect(await call(made(), headers)).toBe(200);
  });

  test("is explained, and not used up by it", async () => {
    const proof = made();
    const request = {
      ...{ method: "GET", host: new URL(node.gateway).host, uri: "/orders/1" },
      headers: { authorization: `DPoP ${token}`, dpop: proof },
    };
    const steps = async (asked: object): Promise<unknown> => {
      const { body } = await admin(node, "POST", "/explain", { request: asked });
      const all = (body as { readonly steps: readonly { readonly step: string }[] }).steps;
      return all.find(({ step }) => step === "proof");
    };
    expect(await steps(request)).toMatchObject({ ok: true });
    expect(await steps({ ...request, method: "POST" })).toMatchObject({
      ok: false,
      reason: "proof_invalid",
      wrong: "htm",
    });
    expect(await call(proof)).toBe(200);
  });
});

describe("a client with a certificate", () => {
  let authority: Authority;
  let mine: Pair;
  beforeAll(async () => {
    authority = openAuthority();
    mine = authority.issue(["batch.test"]);
    await put("/ssls/api", {
      ...{ sni: "api.test", ...authority.issue(["api.test"]) },
      client: { ca: authority.cert, optional: true },
    });
    const conf = { client_id: "tls", token_endpoint_auth_method: "tls_client_auth", audiences: [API] };
    const made = await put("/consumers/shop/credentials/tls?wait=all", {
      plugins: {
        "oauth2-client": {
          ...{ ...conf, tls_client_auth_subject_dn: "CN=batch.test" },
          tls_client_certificate_bound_access_tokens: true,
        },
      },
    });
    expect(made["generated"]).toBeUndefined();
    return () => authority.close();
  });
  const ask = (pair: Partial<Pair>, path: string, headers: Record<string, string>, body?: string) =>
    new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
      const options = { host: "127.0.0.1", port: tlsPort, servername: "api.test", rejectUnauthorized: false, ...pair };
      const method = body === undefined ? "GET" : "POST";
      const asked = request({ ...options, method, path, headers: { host: "api.test", ...headers }, agent: false });
      asked.on("error", reject);
      asked.on("response", (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => {
          text += chunk;
        });
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text }));
      });
      asked.end(body);
    });

  test("gets a token with it alone, which nobody else can use", async () => {
    const form = { "content-type": "application/x-www-form-urlencoded" };
    const body = "grant_type=client_credentials&client_id=tls";
    const answer = await ask(mine, "/oauth2/token", form, body);
    expect(answer.status).toBe(200);
    const { access_token: token } = JSON.parse(answer.text) as { readonly access_token: string };
    const { status } = await ask({}, "/oauth2/token", form, body);
    const other = authority.issue(["other.test"]);
    expect([status, (await ask(other, "/oauth2/token", form, body)).status]).toEqual([401, 401]);
    const bearer = { authorization: `Bearer ${token}` };
    const header = { "client-cert": `:${new X509Certificate(mine.cert).raw.toString("base64")}:` };
    expect((await ask(mine, "/orders/1", bearer)).status).toBe(200);
    expect((await ask({}, "/orders/1", bearer)).status).toBe(401);
    expect((await ask(other, "/orders/1", bearer)).status).toBe(401);
    expect((await ask({}, "/orders/1", { ...bearer, ...header })).status).toBe(401);
    expect((await fetch(`${node.gateway}/orders/1`, { headers: { ...bearer, ...header } })).status).toBe(401);
  });

  test("reads the metadata of the resource over HTTP/2 and HTTP/1.1 alike, and its head", async () => {
    const path = "/.well-known/oauth-protected-resource/tools";
    const session = connect(`https://127.0.0.1:${tlsPort}`, { servername: "api.test", rejectUnauthorized: false });
    const asked = session.request({ ":path": path, ":authority": "api.test" }).setEncoding("utf8");
    let told = "";
    for await (const chunk of asked) told += chunk;
    session.close();
    expect(JSON.parse(told)).toMatchObject({ authorization_servers: [node.gateway] });
    expect((await ask({}, path, { expect: "100-continue" })).text).toBe(told);
    const head = await fetch(new URL(path, node.gateway), { method: "HEAD" });
    expect([head.status, head.headers.get("content-length"), await head.text()]).toEqual([200, `${told.length}`, ""]);
  });
});

describe("jotgate token", () => {
  const jotgate = async (args: readonly string[], env: Record<string, string> = {}, piped = "") => {
    const [out, err]: string[][] = [[], []];
    const code = await main(["token", ...args], {
      env: { JOTGATE_ADMIN_KEY: ADMIN_KEY, ...env },
      ...{ print: (text) => out?.push(text), complain: (text) => err?.push(text), read: async () => piped },
    });
    return { code, out: out?.join("\n") ?? "", err: err?.join("\n") ?? "" };
  };
  const secrets = (): Record<string, string> => ({ JOTGATE_CLIENT_SECRET: secret });

  test("new prints a token alone, by the admin's word, by the issuer's, and with the secret piped in", async () => {
    const by = ["new", "--client", "batch", "--scope", "orders.read"];
    const all = [
      await jotgate([...by, "--admin", node.admin], secrets()),
      await jotgate([...by, "--admin", node.admin, "--server=main"], secrets()),
      await jotgate([...by, "--issuer", node.gateway, "--audience", API], {}, secret),
      await jotgate([...by, "--endpoint", `${node.gateway}/oauth2/token`], secrets()),
    ];
    for (const { code, out, err } of all)
      expect([code, out, err]).toEqual([0, expect.stringMatching(/^[\w-]+\.[\w-]+\.[\w-]+$/), ""]);
    const whole = await jotgate([...by, "--issuer", node.gateway, "--json"], secrets());
    expect(JSON.parse(whole.out)).toMatchObject({ token_type: "Bearer", scope: "orders.read" });
  });

  test("check says what the route would do, revoke ends it, decode shows it; none of them prints it", async () => {
    const { out: token } = await jotgate(["new", "--client", "batch", "--issuer", node.gateway], secrets());
    const rest = ["--admin", node.admin];
    const good = await jotgate(["check", token, "--route", "orders", ...rest]);
    expect([good.code, good.out]).toEqual([0, expect.stringContaining("forwarded to an upstream")]);
    const decoded = await jotgate(["decode", "-"], {}, `${token}\n`);
    expect(JSON.parse(decoded.out)).toMatchObject({
      header: { typ: "at+jwt" },
      claims: { client_id: "batch", aud: API },
    });
    expect(decoded.err).toContain("nothing was verified");
    const ended = await jotgate(["revoke", ...rest], { JOTGATE_TOKEN: token });
    expect([ended.code, ended.out]).toEqual([0, expect.stringMatching(/^revoked at revision \d+; applied by /)]);
    const gone = await jotgate(["check", "--route", "orders", ...rest], {}, token);
    expect([gone.code, gone.out]).toEqual([1, expect.stringContaining("access_token_revoked")]);
    const answer = await fetch(`${node.gateway}/orders/1`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(401);
    for (const { out, err } of [good, decoded, ended, gone]) expect(out + err).not.toContain(token.split(".")[2]);
  });

  test.each([
    { args: [], code: 2, want: "token needs a verb" },
    { args: ["mint"], code: 2, want: "there is no jotgate token mint" },
    { args: ["new"], code: 2, want: "needs --client" },
    {
      args: ["new", "--client", "batch"],
      code: 2,
      want: "JOTGATE_CLIENT_SECRET is not set, and no secret is piped in",
    },
    { args: ["new", "--client", "batch", "--secret", "x"], code: 2, want: "has no option --secret" },
    { args: ["new", "--client"], code: 2, want: "--client needs a value" },
    { args: ["check", "a.b.c"], code: 2, want: "needs --route" },
    { args: ["revoke"], code: 2, want: "there is no token" },
    { args: ["decode", "a.b"], code: 1, want: "this is no JWT" },
    { args: ["check", "x", "--route", "none", "--admin", "ADMIN"], code: 1, want: "there is no route none" },
    { args: ["revoke", "a.b.c", "--admin", "ftp://x"], code: 2, want: "--admin must be a URL" },
    {
      args: ["new", "--client", "batch", "--issuer", "ISSUER", "--scope", "all"],
      env: true,
      code: 1,
      want: "invalid_scope: The client may not have this scope",
    },
    {
      args: ["new", "--client", "nobody", "--issuer", "ISSUER"],
      env: true,
      code: 1,
      want: "invalid_client: Client authentication failed",
    },
    {
      args: ["new", "--client", "batch", "--admin", "ADMIN", "--server", "other"],
      env: true,
      code: 1,
      want: "the authorization servers are main",
    },
  ])("$args: $want", async ({ args, code, want, env }) => {
    const named = args.map((one) => (one === "ADMIN" ? node.admin : one === "ISSUER" ? node.gateway : one));
    const said = await jotgate(named, env ? secrets() : {});
    expect([said.code, said.err]).toEqual([code, expect.stringContaining(want)]);
    expect(said.out + said.err).not.toContain(secret);
  });

  test("--help shows how", async () => {
    expect((await jotgate(["--help"])).out).toContain("jotgate token new --client ID");
  });
});
