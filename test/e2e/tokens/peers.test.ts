/**
 * Our issuer before programs of others: strict clients get tokens, ask about them and end them; APIs that know nothing but the
 * issuer's JWK Set let them in while our keys rotate. Gateways of two workers each behind one TLS name, one etcd.
 */
import { createPublicKey } from "node:crypto";
import * as oauth from "oauth4webapi";
import * as openid from "openid-client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dpopKey, proofFor } from "../../support/dpop.ts";
import { etcdAvailable } from "../../support/etcd.ts";
import {
  API,
  type IssuingCluster,
  openIssuingCluster,
  SCOPE,
  type TrustingFetch,
} from "../../support/issuing-cluster.ts";
import { startLoad } from "../../support/load.ts";
import { bounded } from "../../support/long-run.ts";
import { admin, until } from "../../support/process.ts";
import {
  type Api,
  askWithAuthlib,
  hasApache,
  hasAuthlib,
  hasHaproxy,
  hasPyjwt,
  type Peer,
  startApache,
  startHaproxy,
  startPyjwt,
  startVerifiers,
} from "../../support/token-peers.ts";

/** Seconds that verifiers may keep keys, and between two of their fetches: in the long form their own defaults. */
const [KEPT, PAUSE] = [bounded(3, 40), bounded(1, 30)];

/** Gives a key that its issuer has withdrawn from a second memory for as long as somebody asks for it. */
const FORGETS_NOTHING: ReadonlySet<string> = new Set(["get-jwks"]);

let at: IssuingCluster;
const peers: Peer[] = [];

const kidOf = (token: string): string => JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()).kid;
const show = async ({ origin, path }: Api, headers: Record<string, string>): Promise<readonly [number, string]> => {
  const answer = await fetch(`${origin}${path}`, { headers });
  return [answer.status, await answer.text()];
};
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const started = async (peer: Promise<Peer>): Promise<readonly Api[]> => {
  peers.push(await peer);
  return peers.at(-1)?.apis ?? [];
};
/** Our own nodes are APIs too. */
const own = (): readonly Api[] =>
  at.gateways.map(({ gateway }, i) => ({ name: `gateway ${i}`, origin: gateway, path: "/orders/1" }));

describe.skipIf(!etcdAvailable())("our issuer and programs of others", () => {
  beforeAll(async () => {
    at = await openIssuingCluster(bounded(2, 3), KEPT);
  });
  afterAll(async () => {
    await Promise.all(peers.map((peer) => peer.stop()));
    await at?.close();
  });

  describe("oauth4webapi", () => {
    const client = { client_id: "batch" };
    let server: oauth.AuthorizationServer;
    let options: { readonly [oauth.customFetch]: TrustingFetch };
    beforeAll(async () => {
      options = { [oauth.customFetch]: at.fetch };
      const url = new URL(at.issuer);
      server = await oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, options));
    });
    const grant = async (more: object = {}): Promise<oauth.TokenEndpointResponse> => {
      const auth = oauth.ClientSecretBasic(at.secretOf("batch"));
      const asked = { scope: SCOPE, resource: API };
      const answer = await oauth.clientCredentialsGrantRequest(server, client, auth, asked, { ...options, ...more });
      return await oauth.processClientCredentialsResponse(server, client, answer);
    };

    test("finds the same metadata by both ways of discovery", async () => {
      const url = new URL(at.issuer);
      const answer = await oauth.discoveryRequest(url, { ...options, algorithm: "oauth2" });
      expect(await oauth.processDiscoveryResponse(url, answer)).toEqual(server);
      expect(server).toMatchObject({ issuer: at.issuer, jwks_uri: at.jwksUri, scopes_supported: [SCOPE] });
    });

    test("gets a token that it takes for one of RFC 9068, sees that it is active, ends it, sees that it is not", async () => {
      const { access_token: token, token_type, expires_in, scope } = await grant();
      expect({ token_type, expires_in, scope }).toEqual({ token_type: "bearer", expires_in: 3_600, scope: SCOPE });
      const shown = new Request(`${API}/orders`, { headers: bearer(token) });
      const claims = await oauth.validateJwtAccessToken(server, shown, API, options);
      expect(claims).toMatchObject({ iss: at.issuer, aud: API, sub: "batch", client_id: "batch", scope: SCOPE });
      const [api, auth] = [{ client_id: "api" }, oauth.ClientSecretBasic(at.secretOf("api"))];
      const about = async (): Promise<oauth.IntrospectionResponse> => {
        const answer = await oauth.introspectionRequest(server, api, auth, token, options);
        return await oauth.processIntrospectionResponse(server, api, answer);
      };
      expect(await about()).toEqual({ active: true, token_type: "Bearer", ...claims });
      const own = oauth.ClientSecretBasic(at.secretOf("batch"));
      await oauth.processRevocationResponse(await oauth.revocationRequest(server, client, own, token, options));
      await until("every node knows", async () => !(await about()).active);
    });

    test("gets a token for its DPoP key, which is of use with a proof only", async () => {
      const DPoP = oauth.DPoP({}, await oauth.generateKeyPair("ES256"));
      const { access_token: token, token_type } = await grant({ DPoP });
      expect(token_type).toBe("dpop");
      const url = new URL(`${at.issuer}/orders/1`);
      const call = (more: object): Promise<Response> =>
        oauth.protectedResourceRequest(token, "GET", url, undefined, null, { ...options, ...more });
      expect((await call({ DPoP })).status).toBe(200);
      await expect(call({})).rejects.toMatchObject({ status: 401 });
      let proof = new Request(url);
      const keep: TrustingFetch = async (asked, init) => {
        proof = new Request(asked, init as RequestInit);
        return new Response();
      };
      await call({ DPoP, [oauth.customFetch]: keep });
      expect(await oauth.validateJwtAccessToken(server, proof, API, options)).toHaveProperty("cnf.jkt");
    });
  });

  describe("openid-client", () => {
    const key = () =>
      crypto.subtle.importKey(
        "pkcs8",
        at.clientKey.export({ type: "pkcs8", format: "der" }),
        { name: "ECDSA", namedCurve: "P-256" },
        false,
        ["sign"],
      );
    test.each([
      { id: "batch", method: async () => openid.ClientSecretBasic(at.secretOf("batch")) },
      { id: "posting", method: async () => openid.ClientSecretPost(at.secretOf("posting")) },
      { id: "keyed", method: async () => openid.PrivateKeyJwt({ key: await key(), kid: "c1" }) },
    ])("gets, uses and ends tokens as $id, with DPoP and without", async ({ id, method }) => {
      const found = { algorithm: "oauth2" as const, [openid.customFetch]: at.fetch };
      const config = await openid.discovery(new URL(at.issuer), id, undefined, await method(), found);
      const url = new URL(`${at.issuer}/orders/1`);
      for (const more of [{}, { DPoP: openid.getDPoPHandle(config, await openid.randomDPoPKeyPair("ES256")) }]) {
        const { access_token: token } = await openid.clientCredentialsGrant(config, { scope: SCOPE }, more);
        const call = (): Promise<Response> =>
          openid.fetchProtectedResource(config, token, url, "GET", null, undefined, more);
        expect((await call()).status).toBe(200);
        await openid.tokenRevocation(config, token);
        await until("every node refuses it", () =>
          call().then(
            () => false,
            (error) => error.status === 401,
          ),
        );
      }
    });
  });

  test.skipIf(!hasAuthlib)("Authlib gets tokens with a secret in both places, and with a key", async () => {
    for (const [method, id, secret] of [
      ["client_secret_basic", "batch", at.secretOf("batch")],
      ["client_secret_post", "posting", at.secretOf("posting")],
      ["private_key_jwt", "keyed", at.keyFile],
    ] as const) {
      const answer = await askWithAuthlib(at, `${at.issuer}/oauth2/token`, method, id, secret);
      expect(answer).toMatchObject({ token_type: "Bearer", expires_in: 3_600, scope: SCOPE });
      expect(await show(own()[0] as Api, bearer(String(answer["access_token"])))).toEqual([200, "ok"]);
    }
  });

  test.skipIf(!hasHaproxy)("HAProxy verifies by the public key as PEM", async () => {
    const { keys } = (await (await at.fetch(at.jwksUri)).json()) as { keys: { kid: string; alg: string }[] };
    for (const client of ["batch", "rsa"]) {
      const token = await at.tokenOf(client);
      const jwk = keys.find(({ kid }) => kid === kidOf(token));
      const key = createPublicKey({ key: { ...jwk }, format: "jwk" });
      const pem = key.export({ type: "spki", format: "pem" }) as string;
      const [api] = await started(startHaproxy(pem, jwk?.alg ?? ""));
      expect((await show(api as Api, bearer(token)))[0]).toBe(200);
      expect((await show(api as Api, bearer(token.replace(/.{6}$/, "AAAAAA"))))[0]).toBe(401);
    }
  });

  test.skipIf(!hasApache)("mod_oauth2 lets a bound token in with a proof for this very request", async () => {
    const [api] = await started(startApache(at));
    const bound = { ...(api as Api), path: "/dpop" };
    const key = dpopKey();
    const now = Math.floor(Date.now() / 1_000);
    const endpoint = `${at.issuer}/oauth2/token`;
    const answer = await at.fetch(endpoint, {
      ...{ method: "POST", body: new URLSearchParams({ grant_type: "client_credentials" }) },
      headers: {
        authorization: `Basic ${Buffer.from(`batch:${at.secretOf("batch")}`).toString("base64")}`,
        dpop: proofFor({ method: "POST", url: endpoint, now }, { key }),
      },
    });
    const { access_token: token } = (await answer.json()) as { readonly access_token: string };
    const proof = (path = bound.path): string =>
      proofFor({ url: `${bound.origin}${path}`, token, now: Math.floor(Date.now() / 1_000) }, { key });
    const { authorization } = bearer(token); // it knows no scheme DPoP
    expect((await show(bound, { authorization }))[0]).toBe(401);
    expect((await show(bound, { authorization, dpop: proof("/elsewhere") }))[0]).toBe(401);
    expect((await show(bound, { authorization, dpop: proof().replace(/.{6}$/, "AAAAAA") }))[0]).toBe(401);
    expect((await show(bound, { authorization, dpop: proof() }))[0]).toBe(200);
  });

  test("our keys rotate three times under load, and no verifier refuses a call; in an emergency all refuse the old key", async () => {
    const apis = [
      ...own(),
      ...(await started(startVerifiers(at, KEPT, PAUSE))),
      ...(hasPyjwt ? await started(startPyjwt(at)) : []),
      ...(hasApache ? await started(startApache(at)) : []),
    ];
    const tokens: string[] = [];
    const issue = async (): Promise<readonly string[]> => {
      const made = await Promise.all(at.gateways.map((node) => at.tokenOf("batch", node)));
      tokens.push(...made);
      return made.map(kidOf);
    };
    await issue();
    const paths = new Map(apis.map(({ name, path }) => [name, path]));
    const load = startLoad({
      targets: apis,
      rate: bounded(10, 50),
      // Half of them are new ones.
      request: (n, { name }) => ({
        path: paths.get(name) ?? "",
        headers: bearer(tokens.at(n % 2 === 0 ? -1 : n % tokens.length) ?? ""),
      }),
    });
    const path = "/authorization_servers/main/rotate?algorithm=ES256";
    const answered = async (): Promise<void> => {
      const from = load.answered;
      await until("more calls", () => load.answered > from + apis.length * bounded(10, 500));
    };
    await answered();
    for (let rotation = 1; rotation <= 3; rotation++) {
      const { body } = await admin(at.desk, "POST", `${path}&wait=all`);
      const { next } = body as { readonly next: string };
      await until("every node signs with it", async () => (await issue()).every((kid) => kid === next), undefined, 100);
      await answered();
    }
    await load.stop();
    expect(load.failures.map(({ target, wrong }) => `${target}: ${wrong}`)).toEqual([]);
    expect(new Set(tokens.map(kidOf)).size).toBe(4);

    const leaked = await at.tokenOf();
    await admin(at.desk, "POST", `${path}&emergency=1&wait=all`);
    for (const api of own()) expect((await show(api, bearer(leaked)))[0]).toBe(401);
    const fresh = await at.tokenOf();
    expect(kidOf(fresh)).not.toBe(kidOf(leaked));
    for (const api of apis.filter(({ name }) => !FORGETS_NOTHING.has(name)))
      await until(`${api.name} knows`, async () => {
        const [good] = await show(api, bearer(fresh));
        const [bad] = await show(api, bearer(leaked));
        return good === 200 && bad === 401;
      });
  });
});
