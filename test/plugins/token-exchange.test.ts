/** Token exchange (RFC 8693) and workload identity; docs/spec/tokens.md sections 7.5 and 14. */
import { describe, expect, test } from "vitest";
import { bodyText } from "../../src/plugin/testkit/testkit.ts";
import { basic, GRANT, ISSUER, json, NOW, openWorld, SECRET, type World } from "../support/authorization-server.ts";
import { keyOf, makeToken, type TokenInput } from "../support/jwt.ts";

const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS = "urn:ietf:params:oauth:token-type:access_token";
const JWT = "urn:ietf:params:oauth:token-type:jwt";
const TRADER = basic("trader", SECRET);
const UPSTREAM = "https://stock.example";
const exchanging = { client_secret: SECRET, grant_types: [EXCHANGE], scope: "orders.read stock.read" };
const CONSUMERS = [
  {
    username: "trade",
    auth: {
      "oauth2-client": {
        ...{ ...exchanging, client_id: "trader", audiences: [UPSTREAM], resource: "https://api.example" },
      },
    },
  },
  {
    username: "pod",
    credentials: [
      { id: "who", auth: { "access-token": { identity: "k8s/system:serviceaccount:shop:orders" } } },
      {
        id: "what",
        auth: {
          "oauth2-client": {
            ...{ client_id: "pod", token_endpoint_auth_method: "none", grant_types: [EXCHANGE] },
            ...{ scope: "orders.read", audiences: ["https://api.example"] },
          },
        },
      },
    ],
  },
  { username: "thief", auth: { "access-token": { identity: "k8s/system:serviceaccount:shop:thief" } } },
];

async function open(exchange: object = {}): Promise<World> {
  const world = await openWorld({
    consumers: CONSUMERS,
    server: {
      token_exchange: {
        ...{ enabled: true, issuers: ["idp"], subject_audiences: [ISSUER], federated: ["k8s"], ...exchange },
      },
    },
  });
  for (const id of ["k8s", "idp", "unlisted"]) {
    const jwk = { ...keyOf("ES256").publicKey.export({ format: "jwk" }), kid: id };
    world.issuers.setRecord(id, { issuer: `https://${id}.example`, jwks: { keys: [jwk] } });
  }
  return world;
}

const tokenOf = (issuer: string, claims: object = {}, more: TokenInput = {}): string =>
  makeToken({
    ...{ algorithm: "ES256", header: { kid: issuer } },
    payload: { iss: `https://${issuer}.example`, aud: ISSUER, sub: "alice", exp: NOW + 600, iat: NOW, ...claims },
    ...more,
  });
const POD = { sub: "system:serviceaccount:shop:orders" };
const form = (subject: string, more = "", type = JWT): string =>
  `grant_type=${encodeURIComponent(EXCHANGE)}&subject_token=${subject}&subject_token_type=${encodeURIComponent(type)}${more}`;
const errorOf = async (world: World, body: string, headers: Record<string, string> = TRADER): Promise<unknown> => {
  const answer = await world.token(body, headers);
  return answer.status === 200 ? 200 : json(answer)["error"];
};
const claimsIn = (body: Record<string, unknown>): Record<string, unknown> =>
  JSON.parse(Buffer.from(String(body["access_token"]).split(".")[1] ?? "", "base64url").toString());
const subjectOf = async (world: World): Promise<string> =>
  String(json(await world.token(`${GRANT}&scope=orders.read`))["access_token"]);

describe("a workload", () => {
  test("gets a token for its platform's token alone: no secret anywhere", async () => {
    const world = await open();
    const answer = await world.token(form(tokenOf("k8s", POD), "&client_id=pod"), {});
    expect(answer.status).toBe(200);
    const body = json(answer);
    expect(body).toMatchObject({ token_type: "Bearer", expires_in: 599, issued_token_type: ACCESS });
    expect(claimsIn(body)).toMatchObject({ sub: "pod", client_id: "pod", scope: "orders.read" });
    expect(claimsIn(body)).not.toHaveProperty("act");
    expect(Number(claimsIn(body)["exp"])).toBeLessThanOrEqual(NOW + 600);
    const long = await world.token(form(tokenOf("k8s", { ...POD, exp: NOW + 86_400 }), "&client_id=pod"), {});
    expect(json(long)["expires_in"]).toBe(3_600);
  });

  describe("without client_id", () => {
    const thief = { sub: "system:serviceaccount:shop:thief" };
    const unnamed = (world: World, token: string, more = "") => errorOf(world, form(token, more), {});

    test("is known by its token", async () => {
      const world = await open();
      const answer = json(await world.token(form(tokenOf("k8s", POD)), {}));
      expect(claimsIn(answer)).toMatchObject({ sub: "pod", client_id: "pod" });
      expect(await unnamed(world, tokenOf("k8s", POD), "&scope=admin")).toBe("invalid_scope");
      expect(await unnamed(world, tokenOf("k8s", POD), "&client_secret=x")).toBe("invalid_request");
    });

    test("learns that its token is refused, and nothing with a token that is nobody's own", async () => {
      const world = await open();
      expect(await unnamed(world, tokenOf("k8s", { ...POD, exp: NOW - 40 }))).toBe("invalid_grant");
      expect(await unnamed(world, tokenOf("k8s", { sub: "nobody" }))).toBe("invalid_grant");
      expect(await unnamed(world, tokenOf("k8s", thief))).toBe("invalid_client"); // its consumer has none
      expect(await unnamed(world, tokenOf("idp", POD))).toBe("invalid_client");
      expect(await unnamed(world, await subjectOf(world))).toBe("invalid_client");
    });

    test("has to say which client where its consumer has several, of which it sees those of this server", async () => {
      const workload = (id: string, more = {}) => ({
        id,
        auth: {
          "oauth2-client": {
            ...{ client_id: id, token_endpoint_auth_method: "none", grant_types: [EXCHANGE] },
            ...{ audiences: ["https://api.example"], ...more },
          },
        },
      });
      const world = await open();
      const identity = { "access-token": { identity: "k8s/system:serviceaccount:shop:thief" } };
      const others = [workload("two", { authorization_servers: ["other"] }), workload("one")];
      world.env.setConsumer({ username: "thief", auth: identity, credentials: others });
      expect(claimsIn(json(await world.token(form(tokenOf("k8s", thief)), {})))).toMatchObject({ sub: "one" });
      world.env.setConsumer({ username: "thief", auth: identity, credentials: [...others, workload("three")] });
      const answer = await world.token(form(tokenOf("k8s", thief)), {});
      expect(json(answer)).toMatchObject({
        error: "invalid_request",
        error_description: "client_id is missing: the subject token is that of several clients",
      });
      const named = await world.token(form(tokenOf("k8s", thief), "&client_id=three"), {});
      expect(claimsIn(json(named))).toMatchObject({ sub: "three" });
    });
  });

  test.each([
    ["of another workload", tokenOf("k8s", { sub: "system:serviceaccount:shop:thief" })],
    ["of nobody", tokenOf("k8s", { sub: "system:serviceaccount:shop:orders2" })],
    ["for another audience", tokenOf("k8s", { ...POD, aud: "https://kubernetes.default.svc" })],
    ["that is over", tokenOf("k8s", { ...POD, exp: NOW - 40 })],
    ["of an issuer that is not federated", tokenOf("idp", POD)],
    ["without a signature", makeToken({ header: { alg: "none" }, payload: { iss: "https://k8s.example", ...POD } })],
    ["with another key", tokenOf("k8s", POD, { algorithm: "EdDSA", header: { kid: "k8s" } })],
    ["that is over within the clock skew", tokenOf("k8s", { ...POD, exp: NOW - 10 })],
    ["that is bound to a key", tokenOf("k8s", { ...POD, cnf: { jkt: "x" } })],
  ])("gets none for a token %s", async (_, token) => {
    expect(await errorOf(await open(), form(token, "&client_id=pod"), {})).toBe("invalid_grant");
  });

  test("gets nothing without such a token, nor by another grant, nor under another client's name", async () => {
    const world = await open();
    expect(await errorOf(world, `${GRANT}&client_id=pod`, {})).toBe("invalid_client");
    expect(await errorOf(world, form(tokenOf("k8s", POD), "&client_id=trader"), {})).toBe("invalid_client");
    expect(await errorOf(world, form(tokenOf("k8s", POD), "&client_id=pod&client_secret=x"), {})).toBe(
      "invalid_client",
    );
    expect(await errorOf(world, form(tokenOf("k8s", POD), "&client_id=pod&scope=admin"), {})).toBe("invalid_scope");
    expect((await world.post("/oauth2/revoke", "client_id=pod&token=x", {})).status).toBe(401);
  });
});

describe("an API that was called", () => {
  test("trades the token it was shown for one to the next API: the caller stays, and who acts is said", async () => {
    const world = await open();
    const answer = await world.token(form(await subjectOf(world), "", ACCESS), TRADER);
    expect(answer.status).toBe(200);
    expect(claimsIn(json(answer))).toMatchObject({
      ...{ sub: "batch", client_id: "trader", aud: UPSTREAM, scope: "orders.read", act: { sub: "trader" } },
    });
  });

  test("gets no wider scope, no longer life and no other target than subject and client have", async () => {
    const world = await open();
    const subject = await subjectOf(world);
    expect(await errorOf(world, form(subject, "&scope=stock.read"))).toBe("invalid_scope");
    expect(await errorOf(world, form(subject, "&scope=orders.write"))).toBe("invalid_scope");
    expect(await errorOf(world, form(subject, "&audience=https%3A%2F%2Fapi.example"))).toBe("invalid_target");
    world.clock.advance(3_000_000);
    const late = json(await world.token(form(subject, "", ACCESS), TRADER));
    expect(Number(late["expires_in"])).toBeLessThanOrEqual(600);
    expect(Number(claimsIn(late)["exp"])).toBeLessThanOrEqual(NOW + 3_600);
  });

  test("trades tokens of listed issuers, with their scopes", async () => {
    const world = await open();
    const answer = await world.token(form(tokenOf("idp", { scope: "stock.read openid" })), TRADER);
    expect(claimsIn(json(answer))).toMatchObject({ sub: "alice", scope: "stock.read", act: { sub: "trader" } });
  });

  const refused: readonly (readonly [string, (world: World) => string | Promise<string>])[] = [
    ["of an issuer that is not listed", () => tokenOf("unlisted")],
    ["of an issuer that is federated only", () => tokenOf("k8s", POD)],
    ["that was meant for another", () => tokenOf("idp", { aud: "https://other.example" })],
    ["that is over", () => tokenOf("idp", { exp: NOW - 31 })],
    ["without sub", () => tokenOf("idp", { sub: undefined })],
    ["that names another who may act", () => tokenOf("idp", { may_act: { sub: "other" } })],
    ["that names an actor of another issuer", () => tokenOf("idp", { may_act: { sub: "trader", iss: "https://x" } })],
    ["for which eight have acted", () => tokenOf("idp", { act: nested(8) })],
    [
      "of ours that was revoked",
      async (world) => {
        const token = await subjectOf(world);
        await world.post("/oauth2/revoke", `token=${token}`);
        return token;
      },
    ],
    [
      "of ours whose client is gone",
      async (world) => {
        const token = await subjectOf(world);
        world.env.removeConsumer("shop");
        return token;
      },
    ],
    [
      "of ours for another API",
      async (world) => String(json(await world.token(`${GRANT}&audience=https%3A%2F%2Fother.example`))["access_token"]),
    ],
  ];
  test.each(refused)("gets none for a token %s", async (_, make) => {
    const world = await open();
    const answer = await world.token(form(await make(world)), TRADER);
    expect([answer.status, bodyText(answer)]).toEqual([
      400,
      '{"error":"invalid_grant","error_description":"The subject token is refused"}',
    ]);
  });

  test("nests who acted before, and honours who may", async () => {
    const world = await open();
    const token = tokenOf("idp", { act: nested(7), may_act: { sub: "trader" } });
    expect(claimsIn(json(await world.token(form(token), TRADER)))["act"]).toEqual({ sub: "trader", act: nested(7) });
  });

  describe("with delegation", () => {
    const BOT = { sub: "bot" };
    const acting = (token: string, type = JWT): string =>
      `&actor_token=${token}&actor_token_type=${encodeURIComponent(type)}`;

    test("says by another's token who acts, bounded by its life and by may_act", async () => {
      const world = await open({ delegation: true });
      const ask = async (subject: object, actor: object): Promise<Record<string, unknown>> =>
        json(await world.token(form(tokenOf("idp", subject), acting(tokenOf("idp", actor))), TRADER));
      const body = await ask({ act: nested(7) }, { ...BOT, exp: NOW + 100 });
      expect(claimsIn(body)).toMatchObject({
        ...{ sub: "alice", client_id: "trader", act: { iss: "https://idp.example", sub: "bot", act: nested(7) } },
      });
      expect(body["expires_in"]).toBe(99);
      for (const may of [{ sub: "bot" }, { sub: "bot", iss: "https://idp.example" }])
        expect(claimsIn(await ask({ may_act: may }, BOT))).toMatchObject({ act: { sub: "bot" } });
      for (const may of [{ sub: "trader" }, { sub: "bot", iss: ISSUER }, { sub: "bot", client_id: "other" }, "bot"])
        expect(await ask({ may_act: may }, BOT)).toMatchObject({ error: "invalid_grant" });
      expect(await ask({ act: nested(8) }, BOT)).toMatchObject({ error: "invalid_grant" });
      const ours = await world.token(form(tokenOf("idp"), acting(await subjectOf(world))), TRADER);
      expect(claimsIn(json(ours))["act"]).toEqual({ sub: "batch" });
    });

    test.each([
      ["for another audience", tokenOf("idp", { ...BOT, aud: "https://other.example" })],
      ["that is over", tokenOf("idp", { ...BOT, exp: NOW - 31 })],
      ["of an issuer that is not listed", tokenOf("unlisted", BOT)],
      ["without sub", tokenOf("idp", { sub: undefined })],
      ["without a signature", makeToken({ header: { alg: "none" }, payload: { iss: "https://idp.example", ...BOT } })],
    ])("takes no actor token %s", async (_, actor) => {
      expect(await errorOf(await open({ delegation: true }), form(tokenOf("idp"), acting(actor)))).toBe(
        "invalid_grant",
      );
    });

    test("wants the type of the actor token, and none from a workload, nor where it is off", async () => {
      const world = await open({ delegation: true });
      const [subject, actor] = [tokenOf("idp"), tokenOf("idp", BOT)];
      expect(await errorOf(world, form(subject, `&actor_token=${actor}`))).toBe("invalid_request");
      expect(await errorOf(world, form(subject, `&actor_token_type=${encodeURIComponent(JWT)}`))).toBe(
        "invalid_request",
      );
      expect(await errorOf(world, form(subject, acting(actor, "urn:x")))).toBe("invalid_request");
      expect(await errorOf(world, form(tokenOf("k8s", POD), `&client_id=pod${acting(actor)}`), {})).toBe(
        "invalid_request",
      );
      expect(await errorOf(await open(), form(subject, acting(actor)))).toBe("invalid_request");
    });
  });

  test("must be registered for it, and say what it brings", async () => {
    const world = await open();
    const subject = await subjectOf(world);
    expect(await errorOf(world, form(subject), basic("batch", SECRET))).toBe("unauthorized_client");
    expect(await errorOf(world, form(subject), basic("trader", "wrong"))).toBe("invalid_client");
    expect(await errorOf(world, form(subject, "", "urn:x"))).toBe("invalid_request");
    expect(await errorOf(world, form(subject, `&requested_token_type=${encodeURIComponent(JWT)}`))).toBe(
      "invalid_request",
    );
    expect(await errorOf(world, form(subject, "&actor_token=x"))).toBe("invalid_request");
    expect(await errorOf(world, `grant_type=${encodeURIComponent(EXCHANGE)}`)).toBe("invalid_request");
    const off = await open({ enabled: false });
    expect(await errorOf(off, form(await subjectOf(off)))).toBe("unsupported_grant_type");
  });

  test("finds in the metadata what is on", async () => {
    const [on, off] = [await open(), await open({ enabled: false })];
    const of = async (world: World): Promise<Record<string, unknown>> =>
      json(await world.ask({ target: "/.well-known/openid-configuration" }));
    expect((await of(on))["grant_types_supported"]).toEqual(["client_credentials", EXCHANGE]);
    expect((await of(on))["token_endpoint_auth_methods_supported"]).toContain("none");
    expect((await of(off))["grant_types_supported"]).toEqual(["client_credentials"]);
    expect((await of(off))["token_endpoint_auth_methods_supported"]).not.toContain("none");
  });
});

function nested(depth: number): object {
  let act: object = { sub: "first" };
  for (let i = 1; i < depth; i++) act = { sub: `then-${i}`, act };
  return act;
}

test("a client without a proof can have no other grant, and a server needs to say for whom subject tokens are", async () => {
  const bad = [{ username: "a", auth: { "oauth2-client": { client_id: "a", token_endpoint_auth_method: "none" } } }];
  await expect(openWorld({ consumers: bad })).rejects.toThrow("token_endpoint_auth_method none needs grant_types");
});
