/** Each preset of docs/issuers.md: the Admin API takes it as it stands, and a token with that provider's claims is judged by it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { openIssuers } from "../../src/token/issuers.ts";
import { NO_KEYS } from "../../src/token/key-feed.ts";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { CERTIFICATE } from "../support/certificates.ts";
import { keyOf, makeToken } from "../support/jwt.ts";
import { ROOT } from "../support/process.ts";

const TENANT = "8eaef023-2b34-4da1-9baa-8bc8c9d6a490";
const API = "https://api.example";
const NOW = 1_700_000_000;

/** What a token of the provider says beside times; `sub` is never the caller where another claim is. */
const CLAIMS: Readonly<Record<string, { readonly claims: object; readonly typ?: string; readonly not: object }>> = {
  Keycloak: {
    claims: {
      iss: "https://id.example.com/realms/shop",
      azp: "caller",
      sub: "u1",
      aud: [API, "account"],
      typ: "Bearer",
    },
    not: { iss: "https://id.example.com/realms/other" },
  },
  Auth0: {
    claims: {
      iss: "https://shop.eu.auth0.com/",
      azp: "caller",
      sub: "caller@clients",
      aud: API,
      gty: "client-credentials",
    },
    not: { iss: "https://shop.eu.auth0.com" },
  },
  "Entra ID, one tenant": {
    claims: { iss: `https://sts.windows.net/${TENANT}/`, azp: "caller", sub: "u1", aud: API, tid: TENANT, ver: "1.0" },
    not: { iss: `https://sts.windows.net/${TENANT.replace("8", "9")}/` },
  },
  "Entra ID, several tenants": {
    claims: { iss: `https://login.microsoftonline.com/${TENANT}/v2.0`, azp: "caller", aud: API, tid: TENANT },
    not: { tid: TENANT.replace("8", "9") },
  },
  Cognito: {
    claims: {
      ...{ iss: "https://cognito-idp.eu-west-1.amazonaws.com/POOL", client_id: "caller", sub: "u1" },
      ...{ token_use: "access", scope: "orders/read" },
    },
    not: { client_id: "another" },
  },
  Okta: {
    claims: { iss: "https://shop.okta.com/oauth2/default", cid: "caller", sub: "u1", aud: API, scp: ["orders.read"] },
    not: { cid: undefined },
  },
  Google: { claims: { iss: "accounts.google.com", sub: "caller", aud: API }, not: { iss: "https://google.com" } },
  Kubernetes: {
    claims: { iss: "https://kubernetes.default.svc.cluster.local", sub: "caller", aud: [API], "kubernetes.io": {} },
    typ: "",
    not: { aud: ["https://kubernetes.default.svc"] },
  },
};

const page = readFileSync(join(ROOT, "docs/issuers.md"), "utf8");
const table = page.slice(page.indexOf("## Presets"));
const presets = [...table.matchAll(/^\| ([^|]+) \| `(\{[^`]*\})`/gm)].map(([, name = "", text = ""]) => {
  const record = text.replace('"ca":"…"', `"ca":${JSON.stringify(CERTIFICATE)}`).replaceAll(/…|TENANT/g, TENANT);
  return { name, record: JSON.parse(record) as Readonly<Record<string, unknown>> };
});

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

test("every preset has claims here", () => {
  expect(presets.map(({ name }) => name).sort()).toEqual(Object.keys(CLAIMS).sort());
});

describe.each(presets)("$name", ({ name, record }) => {
  test("is a record that the Admin API takes", async () => {
    const id = name.replaceAll(/\W/g, "");
    const reply = await world.call("PUT", `/token_issuers/${id}`, { body: record });
    expect(reply.status, reply.text).toBe(201);
    await world.call("DELETE", `/token_issuers/${id}`);
  });

  test("judges tokens with the claims of the provider", async () => {
    const { claims = {}, typ = "JWT", not = {} } = CLAIMS[name] ?? {};
    const clock = new FakeClock();
    const issuers = openIssuers(NO_KEYS, clock);
    const { jwks_uri: _uri, ca: _ca, bearer_token_file: _file, ...rest } = record;
    const key = { ...keyOf("ES256").publicKey.export({ format: "jwk" }), kid: "k1" };
    issuers.setRecord("p", { ...rest, jwks: { keys: [key] } });
    const env = makeEnv({
      ...{ plugins: [accessToken], clock, tokens: issuers },
      consumers: [{ username: "shop", auth: { "access-token": { identity: "p/caller" } } }],
    });
    const audiences = record["audience_claim"] === "client_id" ? ["caller"] : [API];
    const phases = env.compile(accessToken, { issuers: ["p"], audiences });
    const consumerOf = async (changed: object): Promise<string | undefined> => {
      const payload = { iat: NOW - 10, exp: NOW + 300, ...claims, ...changed };
      const header = { kid: "k1", typ: typ === "" ? undefined : typ };
      const token = makeToken({ algorithm: "ES256", payload, header });
      const view = makeView({ headers: { Authorization: `Bearer ${token}` } });
      await runPhases(phases, view);
      return view.consumer?.username;
    };
    expect(await consumerOf({})).toBe("shop");
    expect(await consumerOf(not)).toBeUndefined();
    issuers.close();
  });
});
