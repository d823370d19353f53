/**
 * An issuer that is us on real nodes: two gateways of two workers each on one etcd, a client that knows nothing but the
 * issuer's address, and what ends tokens everywhere.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../../support/etcd.ts";
import { makeKey, openIssuerServer } from "../../support/issuer-server.ts";
import { keyOf, makeToken } from "../../support/jwt.ts";
import { startLoad } from "../../support/load.ts";
import { bounded } from "../../support/long-run.ts";
import { admin, type Node, startNode, until } from "../../support/process.ts";
import { configOf } from "../../support/scrape.ts";

const API = "https://api.example.com";
const FORM = "application/x-www-form-urlencoded";

let etcd: EtcdCluster;
let adminNode: Node;
let gateways: readonly Node[] = [];
let upstream: Server;
let issuer = "";
const secrets = new Map<string, string>();

const put = async (path: string, body: object): Promise<Record<string, unknown>> => {
  const { status, body: said } = await admin(adminNode, "PUT", path, body);
  if (status >= 300) throw new Error(`PUT ${path}: ${status} ${JSON.stringify(said)}`);
  return said as Record<string, unknown>;
};
const register = async (id: string, conf: object): Promise<void> => {
  const said = await put(`/consumers/shop/credentials/${id}?wait=all`, {
    plugins: { "oauth2-client": { client_id: id, ...conf } },
  });
  const { client_secret: secret } = (said["generated"] ?? {}) as { readonly client_secret?: string };
  if (secret !== undefined) secrets.set(id, secret);
};
const ask = (at: Node, path: string, form: string, client: string, secret = secrets.get(client)): Promise<Response> =>
  fetch(`${at.gateway}${path}`, {
    method: "POST",
    headers: { "content-type": FORM, authorization: `Basic ${Buffer.from(`${client}:${secret}`).toString("base64")}` },
    body: form,
  });
const first = (): Node => gateways[0] as Node;
const tokenOf = async (client = "batch"): Promise<string> => {
  const answer = await ask(first(), "/oauth2/token", "grant_type=client_credentials", client);
  if (answer.status !== 200) throw new Error(`${answer.status} ${await answer.text()}`);
  return ((await answer.json()) as { readonly access_token: string }).access_token;
};
const call = async (at: Node, token: string): Promise<number> => {
  const answer = await fetch(`${at.gateway}/orders/1`, {
    headers: { authorization: `Bearer ${token}`, connection: "close" }, // any worker
  });
  await answer.text();
  return answer.status;
};
/** What all workers of all nodes say of it. */
const everywhere = async (token: string): Promise<ReadonlySet<number>> =>
  new Set(await Promise.all(gateways.flatMap((node) => Array.from({ length: 8 }, () => call(node, token)))));

describe.skipIf(!etcdAvailable())("an issuer that is us", () => {
  beforeAll(async () => {
    upstream = createServer((request, response) => {
      request.resume();
      response.end("ok");
    });
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    etcd = await startEtcd();
    const options = { etcd: etcd.endpoints };
    const args = ["--workers", "2"];
    const [made, ...rest] = await Promise.all([
      startNode("admin", options),
      startNode("gateway", { ...options, args }),
      startNode("gateway", { ...options, args }),
    ]);
    adminNode = made;
    gateways = rest;
    issuer = first().gateway;
    await put("/authorization_servers/main", { issuer });
    await put("/routes/auth", {
      ...{ uris: ["/oauth2/*", "/.well-known/*"] },
      plugins: { "authorization-server": { id: "main" } },
    });
    await put("/consumers/shop", { username: "shop" });
    await put("/routes/orders", {
      ...{ uri: "/orders/*", upstream: { nodes: { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 } } },
      plugins: { "access-token": { authorization_servers: ["main"], audiences: [API] } },
    });
    await register("batch", { audiences: [API] });
    await register("api", { introspection: true, resource: API });
  });
  afterAll(async () => {
    await Promise.all([adminNode, ...gateways].map((node) => node?.stop()));
    await etcd?.stop();
    upstream?.close();
  });

  test("a token of one node passes on all", async () => {
    expect(await everywhere(await tokenOf())).toEqual(new Set([200]));
  });

  test("a client ends its token at one node, and all refuse it; introspection says so", async () => {
    const [token, other] = [await tokenOf(), await tokenOf()];
    const answer = await ask(first(), "/oauth2/revoke", `token=${token}`, "batch");
    expect([answer.status, await answer.text()]).toEqual([200, ""]);
    await until("it is refused everywhere", async () => (await everywhere(token)).has(200) === false);
    expect(await everywhere(token)).toEqual(new Set([401]));
    expect(await everywhere(other)).toEqual(new Set([200]));
    const at = gateways[1] as Node;
    const of = async (text: string): Promise<unknown> =>
      (await ask(at, "/oauth2/introspect", `token=${text}`, "api")).json();
    expect(await of(token)).toEqual({ active: false });
    expect(await of(other)).toMatchObject({ active: true, client_id: "batch" });
  });

  test("a client with keys at an address needs no secret, and each assertion counts once in a node", async () => {
    const key = makeKey("c1");
    const server = await openIssuerServer();
    try {
      server.keys = [key.jwk];
      await register("keyed", {
        ...{ audiences: [API], token_endpoint_auth_method: "private_key_jwt", jwks_uri: `${server.url}/keys` },
      });
      const seconds = Math.floor(Date.now() / 1_000);
      const of = (jti: string): string =>
        server.token(key, { iss: "keyed", sub: "keyed", aud: issuer, exp: seconds + 120, jti }, { typ: "JWT" });
      const show = async (at: Node, assertion: string): Promise<number> => {
        const type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        const body = new URLSearchParams({
          ...{ grant_type: "client_credentials", client_assertion_type: type, client_assertion: assertion },
        });
        const answer = await fetch(`${at.gateway}/oauth2/token`, {
          ...{ method: "POST", body, headers: { connection: "close" } }, // any worker
        });
        await answer.text();
        return answer.status;
      };
      for (const [i, node] of gateways.entries()) expect(await show(node, of(`first-${i}`))).toBe(200);
      const said = await Promise.all(Array.from({ length: 12 }, () => show(first(), of("one"))));
      expect(said.filter((status) => status === 200)).toHaveLength(1);
      expect(server.fetches).toBe(gateways.length);
    } finally {
      await server.close();
    }
  });

  test("a workload gets in at every node by its platform's token alone, and who lost it by none", async () => {
    const key = makeKey("k8s-1");
    const platform = await openIssuerServer();
    try {
      platform.keys = [key.jwk];
      await put("/token_issuers/k8s", { issuer: platform.url, jwks_uri: `${platform.url}/keys` });
      await put("/authorization_servers/main", {
        ...{ issuer, token_exchange: { enabled: true, subject_audiences: [issuer], federated: ["k8s"] } },
      });
      const sub = "system:serviceaccount:shop:orders";
      await put("/consumers/shop/credentials/who", { plugins: { "access-token": { identity: `k8s/${sub}` } } });
      const grant = "urn:ietf:params:oauth:grant-type:token-exchange";
      const conf = { token_endpoint_auth_method: "none", grant_types: [grant], audiences: [API] };
      await register("pod", conf);
      expect(secrets.has("pod")).toBe(false);
      const seconds = Math.floor(Date.now() / 1_000);
      const projected = (claims: object = {}): string =>
        platform.token(key, { iss: platform.url, sub, aud: [issuer], iat: seconds, exp: seconds + 600, ...claims });
      const trade = (at: Node, subject: string, client: object = { client_id: "pod" }): Promise<Response> =>
        fetch(`${at.gateway}/oauth2/token`, {
          method: "POST",
          headers: { connection: "close" }, // any worker
          body: new URLSearchParams({
            ...{ grant_type: grant, subject_token: subject, ...client },
            subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
          }),
        });
      for (const [at, node] of gateways.entries()) {
        const answer = await trade(node, projected(), at === 0 ? {} : undefined); // its token says who it is
        const body = (await answer.json()) as { readonly access_token: string; readonly expires_in: number };
        expect([answer.status, body.expires_in <= 600]).toEqual([200, true]);
        expect(await everywhere(body.access_token)).toEqual(new Set([200]));
      }
      for (const wrong of [{ sub: `${sub}2` }, { aud: ["https://kubernetes.default.svc"] }, { exp: seconds - 60 }])
        expect((await trade(first(), projected(wrong))).status).toBe(400);
      await admin(adminNode, "DELETE", "/consumers/shop/credentials/who?wait=all");
      for (const node of gateways) expect((await trade(node, projected())).status).toBe(400);
    } finally {
      await platform.close();
    }
  });

  test("an assertion of a client counts once in the cluster, on whatever node and worker, at once and in turn", async () => {
    const { privateKey, publicKey } = keyOf("ES256");
    await put("/authorization_servers/main", { issuer, assertion_replay: "cluster" });
    const jwks = { keys: [publicKey.export({ format: "jwk" })] };
    await register("asserting", { token_endpoint_auth_method: "private_key_jwt", audiences: [API], jwks });
    const show = async (at: Node, text: string): Promise<number> => {
      const answer = await fetch(`${at.gateway}/oauth2/token`, {
        method: "POST",
        headers: { connection: "close" }, // any worker
        body: new URLSearchParams({
          ...{ grant_type: "client_credentials", client_assertion: text },
          client_assertion_type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }),
      });
      await answer.text();
      return answer.status;
    };
    for (let i = 0; i < 2; i++) {
      const exp = Math.floor(Date.now() / 1_000) + 60;
      const payload = { iss: "asserting", sub: "asserting", aud: issuer, exp, jti: `id-${i}` };
      const text = makeToken({ algorithm: "ES256", key: privateKey, payload });
      const atOnce = await Promise.all([...gateways, ...gateways].map((node) => show(node, text)));
      expect(atOnce.sort()).toEqual([200, 401, 401, 401]);
      for (const node of gateways) expect(await show(node, text)).toBe(401);
    }
  });

  test("many clients end their tokens at once, and each gets its answer", async () => {
    const tokens = await Promise.all(Array.from({ length: 40 }, () => tokenOf()));
    const answers = await Promise.all(
      tokens.map((token, i) => ask(gateways[i % 2] as Node, "/oauth2/revoke", `token=${token}`, "batch")),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    await until("all are refused", async () => {
      const said = await Promise.all(tokens.map((token) => call(first(), token)));
      return said.every((status) => status === 401);
    });
  });

  test("a secret is changed with overlap while clients ask: none is refused", async () => {
    const load = startLoad({
      targets: gateways.map((node, i) => ({ name: `gateway ${i}`, origin: node.gateway })),
      rate: 30,
      request: () => ({
        ...{ path: "/oauth2/token", method: "POST", body: "grant_type=client_credentials" },
        headers: {
          "content-type": FORM,
          authorization: `Basic ${Buffer.from(`batch:${secrets.get("batch")}`).toString("base64")}`,
        },
      }),
      judge: ({ status }) => (status === 200 ? undefined : `status ${status}`),
    });
    for (let i = 0; i < bounded(3, 20); i++) {
      const path = "/consumers/shop/credentials/batch/rotate?overlap=2&wait=all";
      const { body } = await admin(adminNode, "POST", path);
      const { client_secret: made } = (body as { readonly generated: { readonly client_secret: string } }).generated;
      secrets.set("batch", made);
      const sent = load.sent;
      await until("some more are asked for", () => load.sent > sent + 40);
    }
    await load.stop();
    expect(load.failures).toEqual([]);
  });

  test("an emergency ends the key everywhere, and the JWK Set is without it", async () => {
    const token = await tokenOf();
    const kid = JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()).kid as string;
    await admin(adminNode, "POST", "/authorization_servers/main/rotate?emergency=1&wait=all");
    expect(await everywhere(token)).toEqual(new Set([401]));
    for (const node of gateways) {
      const set = await (await fetch(`${node.gateway}/.well-known/jwks.json`)).text();
      expect(set).not.toContain(kid);
    }
    expect(await everywhere(await tokenOf())).toEqual(new Set([200]));
  });

  test("nothing is wrong with any record, and no secret is in what the nodes write", async () => {
    for (const node of gateways) expect((await configOf(node)).problems).toEqual([]);
    for (const node of [adminNode, ...gateways])
      for (const secret of secrets.values()) expect(node.output()).not.toContain(secret);
  });
});
