/** access-token as an operator sees it: what passes, what is answered, who the caller is, what goes upstream. */
import { describe, expect, test } from "vitest";
import { refusalDetailOf } from "../../src/plugin/explanation.ts";
import { makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { multiAuth } from "../../src/plugins/multi-auth.ts";
import { API, bearing, claims, ISS, NOW, openTokenNode, ROUTE, SHOP, tokenOf } from "../support/access-token.ts";
import { makeToken, SECRET } from "../support/jwt.ts";

const INVALID = 'Bearer realm="api", error="invalid_token", error_description="The access token is invalid"';

describe("the caller of a good token", () => {
  test("is the consumer of the credential with its identity", async () => {
    const { view, status } = await openTokenNode().callWith(tokenOf());
    expect(status).toBe(200);
    expect(view.consumer?.username).toBe("shop");
    expect(view.credentialId).toBe("web");
    expect(view.header("x-consumer-username")).toBe("shop");
    expect(view.header("x-credential-identifier")).toBe("web");
    expect(view.note("access_token_payload")).toEqual(claims());
  });

  test.each([
    { by: "username", claim: { sub: "shop" }, conf: {} },
    { by: "custom_id", claim: { sub: "77" }, conf: {} },
    { by: "username", claim: { azp: "shop" }, conf: { consumer_claim: "azp" } },
    { by: "username", claim: { who: { name: "shop" } }, conf: { consumer_claim: "/who/name" } },
    { by: "credential", claim: { azp: "orders-service", sub: "x" }, conf: { consumer_claim: "azp" } },
  ])("is found by $by with $conf", async ({ by, claim, conf }) => {
    const node = openTokenNode({ route: { consumer_by: by, ...conf } });
    expect((await node.callWith(tokenOf(claim))).view.consumer?.username).toBe("shop");
  });

  test("is nobody where two consumers share the custom_id", async () => {
    const node = openTokenNode({ route: { consumer_by: "custom_id" } });
    expect((await node.callWith(tokenOf({ sub: "77" }))).status).toBe(200);
    node.env.setConsumer({ username: "twin", labels: { custom_id: "77" } });
    expect((await node.callWith(tokenOf({ sub: "77" }))).why).toBe("unknown_consumer");
  });

  test("is no consumer with consumer_by none", async () => {
    const { view, status } = await openTokenNode({ route: { consumer_by: "none" } }).callWith(tokenOf({ sub: "shop" }));
    expect(status).toBe(200);
    expect(view.consumer).toBeUndefined();
  });

  test("must be known, unless consumer_optional says otherwise", async () => {
    const node = openTokenNode();
    const refused = await node.callWith(tokenOf({ sub: "stranger" }));
    expect(refused).toMatchObject({ status: 403, body: '{"message":"Forbidden"}', why: "unknown_consumer" });
    expect(refused.challenge).toBeUndefined();
    const open = node.route({ consumer_optional: true });
    expect((await open(tokenOf({ sub: "stranger" }))).status).toBe(200);
    expect((await open(tokenOf({ sub: undefined }))).status).toBe(200);
    expect((await open(tokenOf())).view.consumer?.username).toBe("shop");
  });

  test("who is named missing is somebody", async () => {
    const node = openTokenNode({ route: { consumer_by: "username" }, consumers: [{ username: "missing" }] });
    expect((await node.callWith(tokenOf({ sub: "missing" }))).view.consumer?.username).toBe("missing");
  });

  test.each([undefined, 7, "", ["orders-service"], { a: 1 }, null])("is not identified by sub %j", async (sub) => {
    expect((await openTokenNode().callWith(tokenOf({ sub }))).why).toBe("missing_claim");
  });

  test("is waited for where its credential is still being looked up", async () => {
    const node = openTokenNode({ consumers: [] });
    node.env.setPending("access-token", async () => node.env.setConsumer(SHOP));
    expect((await node.callWith(tokenOf())).view.consumer?.username).toBe("shop");
  });

  test("may be the anonymous consumer, for every 401 and only for those", async () => {
    const node = openTokenNode({
      route: { anonymous_consumer: "guest", required_scopes: ["r"], hide_credentials: true },
      consumers: [SHOP, { username: "guest" }],
    });
    const { view } = await node.callWith("x.y.z");
    expect(view.consumer?.username).toBe("guest");
    expect(view.header("authorization")).toBeUndefined();
    expect((await node.call({})).view.consumer?.username).toBe("guest");
    expect(await node.count("anonymous")).toBe(2);
    expect((await node.callWith(tokenOf())).status).toBe(403);
  });
});

describe("answers", () => {
  const node = openTokenNode({ route: { required_scopes: ["orders.read"], any_scopes: ["a", "b"] } });
  const scope = 'scope="orders.read a b"';
  test.each([
    {
      says: "no token",
      input: {},
      status: 401,
      body: "Missing access token in request",
      why: "missing",
      challenge: `Bearer realm="api", ${scope}`,
    },
    {
      says: "another scheme",
      input: { headers: { Authorization: "Basic eDp5" } },
      status: 401,
      body: "Missing access token in request",
      why: "missing",
      challenge: `Bearer realm="api", ${scope}`,
    },
    {
      says: "two tokens",
      input: { headers: ["Authorization", "Bearer a", "authorization", "Bearer a"] },
      status: 400,
      body: "Invalid request",
      why: "ambiguous",
      challenge: `Bearer realm="api", error="invalid_request", ${scope}`,
    },
    {
      says: "no JWT",
      input: bearing("abc"),
      status: 401,
      body: "Invalid access token",
      why: "malformed",
      challenge: `${INVALID}, ${scope}`,
    },
    {
      says: "a missing scope",
      input: bearing(tokenOf({ scope: "orders.write a" })),
      status: 403,
      body: "Insufficient scope",
      why: "insufficient_scope",
      challenge: `Bearer realm="api", error="insufficient_scope", ${scope}`,
    },
    {
      says: "all scopes",
      input: bearing(tokenOf({ scope: "b orders.read" })),
      status: 200,
      body: "",
      why: "",
      challenge: undefined,
    },
  ])("to $says: $status $why", async ({ input, status, body, why, challenge }) => {
    const found = await node.call(input);
    expect(found).toMatchObject({ status, why, challenge });
    expect(found.body).toBe(body === "" ? "" : `{"message":"${body}"}`);
  });

  test("name the metadata of the resource", async () => {
    const made = openTokenNode({ route: { resource: "https://api.example/v1", realm: "orders" } });
    expect((await made.call({})).challenge).toBe(
      'Bearer realm="orders", resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1"',
    );
  });

  describe("of the metadata of the resource", () => {
    const PATH = "/.well-known/oauth-protected-resource/v1";
    const SERVED = { resource: "https://api.example/v1", resource_metadata: true };
    const document = {
      resource: "https://api.example/v1",
      authorization_servers: [ISS],
      bearer_methods_supported: ["header"],
      tls_client_certificate_bound_access_tokens: true,
      dpop_signing_alg_values_supported: ["ES256", "EdDSA", "RS256", "PS256"],
    };
    test.each<{ conf: object; has: object; target?: string }>([
      { conf: {}, has: {} },
      {
        conf: { required_scopes: ["r"], any_scopes: ["r", "w"], query: "access_token" },
        has: { scopes_supported: ["r", "w"], bearer_methods_supported: ["header", "query"] },
      },
      { conf: { header: "X-Token", query: "token", cookie: "t" }, has: { bearer_methods_supported: [] } },
      { conf: { dpop: "required" }, has: { bearer_methods_supported: [], dpop_bound_access_tokens_required: true } },
      {
        conf: { resource: "https://api.example/" },
        has: { resource: "https://api.example/" },
        target: "/.well-known/oauth-protected-resource",
      },
      {
        conf: { resource: "https://api.example/a%20b/?x=1" },
        has: { resource: "https://api.example/a%20b/?x=1" },
        target: "/.well-known/oauth-protected-resource/a%20b/?x=1",
      },
    ])("with $conf is $has", async ({ conf, has, target = PATH }) => {
      const made = openTokenNode({ route: { ...SERVED, ...conf } });
      for (const method of ["GET", "HEAD"]) {
        const found = await made.call({ method, target });
        expect(found).toMatchObject({ status: 200, why: "resource_metadata" });
        expect(JSON.parse(found.body)).toEqual({ ...document, ...has });
        expect(found.answer?.headers).toContain("application/json");
      }
      expect(await made.count("missing")).toBe(0);
      expect((await made.call({ method: "POST", target })).status).toBe(405);
    });

    test.each([
      { says: "below it", input: { target: `${PATH}/x` } },
      { says: "above it", input: { target: "/.well-known/oauth-protected-resource" } },
      { says: "where it is not served", input: { target: PATH }, conf: { resource_metadata: false } },
      { says: "with another query", input: { target: `${PATH}?y` }, conf: { resource: "https://api.example/v1?x" } },
    ])("is not $says", async ({ input, conf }) => {
      expect(await openTokenNode({ route: { ...SERVED, ...conf } }).call(input)).toMatchObject({ status: 401 });
    });

    test("names the issuers of this moment", async () => {
      const made = openTokenNode({ route: SERVED });
      made.tokens.set({ id: "idp", issuer: "https://other.example" });
      const told = JSON.parse((await made.call({ target: PATH })).body);
      expect(told.authorization_servers).toEqual(["https://other.example"]);
      made.tokens.remove("idp");
      expect(JSON.parse((await made.call({ target: PATH })).body).authorization_servers).toBeUndefined();
    });

    test("is served out of multi-auth, whichever plugin stands first, and explained so", async () => {
      const env = makeEnv({ plugins: [accessToken, jwtAuth, multiAuth] });
      const mine = { "access-token": { ...ROUTE, ...SERVED } };
      for (const auth_plugins of [
        [{ "jwt-auth": {} }, mine],
        [mine, { "jwt-auth": {} }],
      ]) {
        const phases = env.compile(multiAuth, { auth_plugins });
        expect((await runPhases(phases, makeView({ target: PATH })))?.reason).toBe("resource_metadata");
        const explaining = { token: undefined, nowMs: NOW * 1_000, steps: [] };
        expect(await phases.explain?.(makeView({ target: PATH }), explaining)).toMatchObject({ status: 200 });
        expect(await runPhases(phases, makeView({ target: "/v1" }))).toMatchObject({ status: 401 });
        phases.close?.();
      }
    });
  });

  test("while there are no keys ask to try again", async () => {
    const made = openTokenNode();
    for (const why of ["keys_unavailable", "keys_too_old"] as const) {
      made.issuer.setMissing(why);
      const found = await made.callWith(tokenOf());
      expect(found).toMatchObject({ status: 503, body: '{"message":"Service temporarily unavailable"}', why });
      expect(found.answer?.headers).toEqual(["Retry-After", "5"]);
    }
  });

  test("are counted by outcome", async () => {
    const made = openTokenNode();
    await made.callWith(tokenOf());
    await made.callWith(tokenOf());
    await made.callWith(tokenOf({ aud: "https://other.example" }));
    expect([await made.count("ok"), await made.count("wrong_audience"), await made.count("expired")]).toEqual([
      2, 1, 0,
    ]);
  });
});

describe("places", () => {
  test.each([
    { says: "any case of the scheme", headers: { Authorization: `bEaReR ${tokenOf()}` }, conf: {}, want: 200 },
    {
      says: "a bare token in another header",
      headers: { "X-Token": tokenOf() },
      conf: { header: "x-token" },
      want: 200,
    },
    { says: "the query", target: `/?t=${tokenOf()}`, conf: { query: "t" }, want: 200 },
    { says: "a cookie", headers: { Cookie: `a=b; t=${tokenOf()}` }, conf: { cookie: "t" }, want: 200 },
    { says: "a bare token in Authorization", headers: { Authorization: tokenOf() }, conf: {}, want: 401 },
    {
      says: "header and query, even of one token",
      target: `/?t=${tokenOf()}`,
      headers: bearing(tokenOf()).headers,
      conf: { query: "t" },
      want: 400,
    },
    {
      says: "query and cookie",
      target: "/?t=a",
      headers: { Cookie: "t=a" },
      conf: { query: "t", cookie: "t" },
      want: 400,
    },
    { says: "a repeated argument", target: "/?t=a&t=a", conf: { query: "t" }, want: 400 },
    { says: "cookies that differ", headers: { Cookie: "t=a; t=b" }, conf: { cookie: "t" }, want: 400 },
  ])("$says: $want", async ({ says: _, conf, want, ...input }) => {
    expect((await openTokenNode({ route: conf }).call(input as never)).status).toBe(want);
  });

  test("are emptied by hide_credentials, and nothing else is", async () => {
    const conf = { query: "t", cookie: "t", hide_credentials: true };
    const inHeader = await openTokenNode({ route: conf }).callWith(tokenOf());
    expect(inHeader.view.headers.has("authorization")).toBe(false);
    const input = { target: `/?a=1&t=${tokenOf()}&b=2`, headers: { Authorization: "Basic eDp5", Cookie: "s=1" } };
    const inQuery = await openTokenNode({ route: conf }).call(input);
    expect(inQuery.view.query).toBe("a=1&b=2");
    expect(inQuery.view.header("authorization")).toBe("Basic eDp5");
    expect(inQuery.view.header("cookie")).toBe("s=1");
    expect((await openTokenNode({ route: { query: "t" } }).callWith(tokenOf())).view.headers.has("authorization")).toBe(
      true,
    );
  });
});

describe("claims for the upstream", () => {
  const CLAIMS = {
    tenant: "acme",
    n: 7,
    yes: true,
    roles: ["a", "b"],
    odd: ["a,b"],
    nested: { deep: ["x", 2] },
    object: {},
    empty: "",
    wide: "\u0416",
    line: "a\r\nX-Evil: 1",
    nul: "a\0",
    "https://example.com/tenant": "t1",
  };
  const HEADERS = {
    "X-Tenant": "tenant",
    "X-N": "n",
    "X-Yes": "yes",
    "X-Roles": "roles",
    "X-Odd": "odd",
    "X-Deep": "/nested/deep",
    "X-Object": "object",
    "X-Empty": "empty",
    "X-Wide": "wide",
    "X-Line": "line",
    "X-Nul": "nul",
    "X-Ns": "https://example.com/tenant",
    "X-Ptr": "/https:~1~1example.com~1tenant",
    "X-No": "/nested/no",
  };

  test("are text, number, truth or a list of them; what cannot be a header is left out", async () => {
    const { view } = await openTokenNode({ route: { claim_headers: HEADERS } }).callWith(tokenOf(CLAIMS));
    const sent = Object.fromEntries(Object.keys(HEADERS).map((name) => [name, view.header(name.toLowerCase())]));
    expect(sent).toEqual({
      "X-Tenant": "acme",
      "X-N": "7",
      "X-Yes": "true",
      "X-Roles": "a,b",
      "X-Deep": "x,2",
      "X-Ns": "t1",
      "X-Ptr": "t1",
      "X-Odd": undefined,
      "X-Object": undefined,
      "X-Empty": undefined,
      "X-Wide": undefined,
      "X-Line": undefined,
      "X-Nul": undefined,
      "X-No": undefined,
    });
  });

  test.each(["X-Tenant", "x-tenant", "X_TENANT", "x.tenant", "X-Payload", "x_payload"])(
    "what the client sends as %s is removed, whatever becomes of the request",
    async (name) => {
      const conf = {
        claim_headers: { "X-Tenant": "tenant" },
        payload_header: "X-Payload",
        anonymous_consumer: "guest",
      };
      const node = openTokenNode({ route: conf, consumers: [SHOP, { username: "guest" }] });
      for (const token of [tokenOf({ tenant: "acme" }), tokenOf(), "junk", undefined]) {
        const auth = token === undefined ? [] : ["Authorization", `Bearer ${token}`];
        const { view } = await node.call({ headers: [name, "evil", "X-Other", "1", ...auth, name, "evil"] });
        expect(view.headers.lines.filter((line) => line === "evil")).toEqual([]);
        expect(view.header("x-other")).toBe("1");
      }
    },
  );

  test("may be the whole payload", async () => {
    const { view } = await openTokenNode({ route: { payload_header: "X-Payload" } }).callWith(tokenOf());
    expect(JSON.parse(Buffer.from(view.header("x-payload") ?? "", "base64url").toString())).toEqual(claims());
  });

  test("are another route's with a remembered token", async () => {
    const node = openTokenNode({ route: { claim_headers: { "X-A": "sub" } } });
    const other = node.route({ claim_headers: { "X-B": "iss" } });
    for (let i = 0; i < 2; i++) {
      expect((await node.callWith(tokenOf())).view.header("x-a")).toBe("orders-service");
      const { view } = await other(tokenOf());
      expect([view.header("x-b"), view.header("x-a")]).toEqual([ISS, undefined]);
    }
  });
});

describe("rules on claims", () => {
  test.each([
    { rules: [["/realm_access/roles", "has", "admin"]], pass: true },
    { rules: [["/realm_access/roles", "has", "root"]], pass: false },
    {
      rules: [
        ["email_verified", "==", true],
        ["level", ">=", 3],
      ],
      pass: true,
    },
    { rules: ["OR", ["email_verified", "==", false], ["level", "<", 3]], pass: false },
    { rules: [["https://x.example/tier", "in", ["gold", "silver"]]], pass: true },
    { rules: [["__proto__", "==", "x"]], pass: false },
    { rules: [["/constructor/name", "==", "Object"]], pass: false },
    { rules: [["/realm_access/roles/0", "==", "admin"]], pass: true },
  ])("$rules: $pass", async ({ rules, pass }) => {
    const token = tokenOf({
      realm_access: { roles: ["admin"] },
      email_verified: true,
      level: 4,
      "https://x.example/tier": "gold",
    });
    const found = await openTokenNode({ route: { claim_rules: rules } }).callWith(token);
    expect([found.status, found.why]).toEqual(pass ? [200, ""] : [403, "claim_rule"]);
  });
});

describe("inside multi-auth", () => {
  const node = () => makeNode([{ "access-token": { ...ROUTE, hide_credentials: true } }, { "jwt-auth": {} }]);
  const makeNode = (auth: readonly object[]) => {
    const made = openTokenNode({
      plugins: [jwtAuth, multiAuth],
      consumers: [SHOP, { username: "jack", auth: { "jwt-auth": { key: "jack-key", secret: SECRET } } }],
    });
    return { made, phases: made.env.compile(multiAuth, { auth_plugins: auth }) };
  };

  test.each([
    { says: "an access token", token: tokenOf(), want: "shop" },
    { says: "a jwt-auth token", token: makeToken(), want: "jack" },
    { says: "neither", token: "x", want: undefined },
  ])("$says is $want", async ({ token, want }) => {
    const { phases } = node();
    const view = makeView(bearing(token));
    const answer = await runPhases(phases, view);
    expect([view.consumer?.username, answer?.status]).toEqual([want, want === undefined ? 401 : undefined]);
  });
});

test.each([
  { says: "before", order: [{ "access-token": {} }, { "jwt-auth": {} }] },
  { says: "after", order: [{ "jwt-auth": {} }, { "access-token": {} }] },
])("headers for claims are never a client's in multi-auth, $says the plugin that accepts", async ({ order }) => {
  const made = openTokenNode({
    plugins: [jwtAuth, multiAuth],
    consumers: [SHOP, { username: "jack", auth: { "jwt-auth": { key: "jack-key", secret: SECRET } } }],
  });
  const conf = { ...ROUTE, claim_headers: { "X-User": "sub" }, payload_header: "X-Payload" };
  const auth = order.map((one) => ("access-token" in one ? { "access-token": conf } : one));
  const view = makeView({
    headers: { ...bearing(makeToken()).headers, "X-User": "root", X_User: "root", "x-payload": "e30" },
  });
  expect(await runPhases(made.env.compile(multiAuth, { auth_plugins: auth }), view)).toBeUndefined();
  expect(view.consumer?.username).toBe("jack");
  expect(["x-user", "x_user", "x-payload"].map((name) => view.headers.getAll(name))).toEqual([[], [], []]);
});

describe("a configuration is refused that", () => {
  test.each([
    { says: "names no issuer", conf: { audiences: [API] }, want: "one of issuers, authorization_servers is required" },
    {
      says: "names no audience",
      conf: { issuers: ["idp"] },
      want: "audiences is required: without it a token for another API would pass; skip_audience_check: true lets it",
    },
    {
      says: "says both",
      conf: { ...ROUTE, skip_audience_check: true },
      want: "skip_audience_check: true and audiences exclude each other",
    },
    {
      says: "wants proofs",
      conf: { ...ROUTE, dpop: "required", header: "X-Token" },
      want: 'dpop: "required" needs header: "authorization": proofs come with the scheme DPoP',
    },
    {
      says: "serves metadata",
      conf: { ...ROUTE, resource_metadata: true },
      want: "resource_metadata: true needs resource, the identifier of this API",
    },
    {
      says: "serves metadata where no request can be",
      conf: { ...ROUTE, resource_metadata: true, resource: "https://api.example/%00" },
      want: 'resource: "https://api.example/%00" has a path that no request can have, so its metadata cannot be served',
    },
    {
      says: "has an unknown member",
      conf: { ...ROUTE, audience: "x" },
      want: "additional properties forbidden, found audience",
    },
    {
      says: "has a rule that is none",
      conf: { ...ROUTE, claim_rules: [["a", "nope", 1]] },
      want: "claim_rules: invalid operator 'nope'",
    },
    {
      says: "has a pointer that is none",
      conf: { ...ROUTE, claim_rules: [["/a~2", "==", 1]] },
      want: 'claim_rules: "/a~2" is no JSON pointer: "~" stands before "0" or "1" only',
    },
    {
      says: "has a bad consumer_claim",
      conf: { ...ROUTE, consumer_claim: "/~" },
      want: 'consumer_claim: "/~" is no JSON pointer: "~" stands before "0" or "1" only',
    },
    {
      says: "sets Host",
      conf: { ...ROUTE, claim_headers: { Host: "sub" } },
      want: "claim_headers: Host is a header that the gateway or HTTP itself needs",
    },
    {
      says: "sets an identity",
      conf: { ...ROUTE, payload_header: "x_consumer_username" },
      want: "payload_header: x_consumer_username is a header that the gateway or HTTP itself needs",
    },
    {
      says: "sets a header whose name has a blank",
      conf: { ...ROUTE, claim_headers: { "X A": "sub" } },
      want: 'claim_headers: "X A" cannot be the name of a header',
    },
    {
      says: "sets a header whose name breaks the line",
      conf: { ...ROUTE, claim_headers: { "X-A\r\nX-B: 1": "sub" } },
      want: 'claim_headers: "X-A\\r\\nX-B: 1" cannot be the name of a header',
    },
    {
      says: "sets a header without a name",
      conf: { ...ROUTE, claim_headers: { "": "sub" } },
      want: 'claim_headers: "" cannot be the name of a header',
    },
    {
      says: "reads the token from a header of HTTP itself",
      conf: { ...ROUTE, header: "Host" },
      want: "header: Host cannot carry a token, HTTP itself needs it",
    },
    { says: "reads a cookie that no client can name", conf: { ...ROUTE, cookie: "a;b" }, want: 'property "cookie"' },
    {
      says: "sets one header twice",
      conf: { ...ROUTE, claim_headers: { "X-A": "a", x_a: "b" } },
      want: 'claim_headers: x_a stands there twice, for back ends that read "_" as "-"',
    },
    {
      says: "has a resource that is no URL",
      conf: { ...ROUTE, resource: "https://[/" },
      want: 'resource: "https://[/" is no URL',
    },
  ])("$says", ({ conf, want }) => {
    expect(() => makeEnv({ plugins: [accessToken] }).compile(accessToken, conf)).toThrow(want);
  });

  test.each(["keycloak", "/x", "keycloak/", ""])("gives a credential the identity %j", (identity) => {
    expect(() => openTokenNode({ consumers: [{ username: "x", auth: { "access-token": { identity } } }] })).toThrow();
  });
});

test("multi-auth says 503 where keys are not there yet: the token may be good", async () => {
  const node = openTokenNode({ plugins: [jwtAuth, multiAuth] });
  const phases = node.env.compile(multiAuth, { auth_plugins: [{ "jwt-auth": {} }, { "access-token": ROUTE }] });
  node.issuer.setMissing("keys_unavailable");
  expect((await runPhases(phases, makeView(bearing(tokenOf()))))?.status).toBe(503);
  expect((await runPhases(phases, makeView(bearing("junk"))))?.status).toBe(401);
});

describe("what the operator is told of a refusal", () => {
  test.each([
    { says: "a stranger", token: tokenOf({ sub: "x" }), want: { issuer: "idp", kid: "k1", detail: "nobody is idp/x" } },
    {
      says: "a scope that is missing",
      token: tokenOf({ scope: "b" }),
      conf: { required_scopes: ["a", "b"] },
      want: { issuer: "idp", kid: "k1", consumer: "shop", detail: "lacks a" },
    },
    { says: "another audience", token: tokenOf({ aud: "x" }), want: { issuer: "idp" } },
    { says: "a kid of nobody's", token: tokenOf({}, { header: { kid: "evil" } }), want: { issuer: "idp" } },
    { says: "a wrong signature", token: tokenOf().replace(/.{4}$/, "AAAA"), want: { issuer: "idp", kid: "k1" } },
    { says: "an issuer of nobody's", token: tokenOf({ iss: "https://evil.example" }), want: {} },
    { says: "no token", token: "x", want: {} },
  ])("$says: $want", async ({ token, conf, want }) => {
    const { view } = await openTokenNode({ route: conf ?? {} }).callWith(token);
    expect(refusalDetailOf(view)).toEqual({
      ...{ issuer: undefined, kid: undefined, consumer: undefined, detail: undefined },
      ...want,
    });
  });
});

test("what is refused at one time is judged by the clock of the node", async () => {
  const node = openTokenNode();
  const token = tokenOf({ exp: NOW + 60, nbf: NOW + 20 });
  expect((await node.callWith(token)).status).toBe(200); // skew 30
  node.env.clock.advance(89_000);
  expect((await node.callWith(token)).status).toBe(200);
  node.env.clock.advance(1_000);
  expect((await node.callWith(token)).why).toBe("expired");
});
