/** Introspection (RFC 7662) and revocation by the client (RFC 7009), as docs/spec/tokens.md sections 7.3 and 7.4 print them. */
import { expect, test } from "vitest";
import { CodedError } from "../../src/base/errors.ts";
import { answerHeader, bodyText, metricValue } from "../../src/plugin/testkit/testkit.ts";
import { basic, GRANT, ISSUER, json, NOW, openWorld, SECRET, type World } from "../support/authorization-server.ts";

const API_SECRET = "the-secret-of-an-api-of-32-characters";
const API = basic("orders-api", API_SECRET);
const client = (id: string, more: object = {}) => ({
  "oauth2-client": { client_id: id, client_secret: API_SECRET, scope: "orders.read", ...more },
});
const introspecting = { introspection: true, resource: "https://api.example" };
const CONSUMERS = [
  {
    username: "apis",
    credentials: [
      { id: "1", auth: client("orders-api", introspecting) },
      { id: "2", auth: client("stock-api", { introspection: true, resource: ["https://stock.example"] }) },
      { id: "3", auth: client("stranger", { audiences: ["https://api.example"] }) },
    ],
  },
];
const open = (): Promise<World> => openWorld({ consumers: CONSUMERS });
const tokenOf = async (world: World, form = GRANT): Promise<string> =>
  String(json(await world.token(form))["access_token"]);
const introspect = (world: World, token: string, headers: Record<string, string> = API) =>
  world.post("/oauth2/introspect", `token=${token}&token_type_hint=access_token`, headers);
const revoke = (world: World, token: string, headers = basic("batch", SECRET)) =>
  world.post("/oauth2/revoke", `token=${token}`, headers);
const INACTIVE = '{"active":false}';

test("a good token is shown to a client that is its audience, and is never cached", async () => {
  const world = await open();
  const answer = await introspect(world, await tokenOf(world, `${GRANT}&scope=orders.read`));
  expect(answer.status).toBe(200);
  expect(bodyText(answer)).toBe(
    `{"active":true,"iss":"${ISSUER}","sub":"batch","aud":"https://api.example","client_id":"batch","scope":"orders.read",` +
      `"exp":${NOW + 3_600},"iat":${NOW},"jti":"${String(json(answer)["jti"])}","token_type":"Bearer"}`,
  );
  expect(answerHeader(answer, "cache-control")).toBe("no-store");
  expect(answerHeader(answer, "content-type")).toBe("application/json");
  expect(await metricValue(world.env, "jotgate_introspections_total", { active: "true" })).toBe(1);
});

test("whatever is no good token for the caller is one answer", async () => {
  const world = await open();
  const token = await tokenOf(world);
  const [head, payload, signature = ""] = token.split(".");
  const forged = `${head}.${payload}.${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
  for (const text of [forged, "x", "a.b.c", `${token}A`, token.toUpperCase()])
    expect(bodyText(await introspect(world, text))).toBe(INACTIVE);
  expect(bodyText(await introspect(world, token, basic("stock-api", API_SECRET)))).toBe(INACTIVE);
  expect(bodyText(await introspect(world, token))).toContain('"active":true');
  world.clock.advance(3_631_000);
  expect(bodyText(await introspect(world, token))).toBe(INACTIVE);
  expect(await metricValue(world.env, "jotgate_introspections_total", { active: "false" })).toBe(7);
});

test.each(["token", "client", "key", "consumer"] as const)("a token that was ended by %s is not active", async (by) => {
  const world = await open();
  const token = await tokenOf(world);
  const kid = JSON.parse(Buffer.from(token.split(".")[0] ?? "", "base64url").toString()).kid;
  if (by === "token") await revoke(world, token);
  if (by === "client") world.revocations.rule({ type: "client", value: "batch", issuedBefore: NOW + 1 });
  if (by === "key") world.keys.setKey(`main/${kid}`, undefined);
  if (by === "consumer") world.env.removeConsumer("shop");
  expect(bodyText(await introspect(world, token))).toBe(INACTIVE);
});

test("only clients that may, and that prove who they are, introspect", async () => {
  const world = await open();
  const token = await tokenOf(world);
  expect((await introspect(world, token, basic("orders-api", "wrong"))).status).toBe(401);
  expect((await introspect(world, token, {})).status).toBe(401);
  const other = await introspect(world, token, basic("batch", SECRET));
  expect([other.status, json(other)["error"]]).toEqual([400, "unauthorized_client"]);
  const none = await world.post("/oauth2/introspect", "", API);
  expect([none.status, json(none)]).toEqual([400, { error: "invalid_request", error_description: "token is missing" }]);
  const twice = await world.post("/oauth2/introspect", "token=a&token=b", API);
  expect(json(twice)["error"]).toBe("invalid_request");
});

test("a client ends its own token; others go on, and ending it again is the same", async () => {
  const world = await open();
  const [token, other] = [await tokenOf(world), await tokenOf(world)];
  const answer = await revoke(world, token);
  expect([answer.status, bodyText(answer)]).toEqual([200, ""]);
  expect(answerHeader(answer, "cache-control")).toBe("no-store");
  expect(bodyText(await introspect(world, token))).toBe(INACTIVE);
  expect(bodyText(await introspect(world, other))).toContain('"active":true');
  expect((await revoke(world, token)).status).toBe(200);
  expect(world.revocations.live.tokenCount).toBe(1);
});

test("what is no valid token is answered 200, a token of another client 400, and nothing is revoked", async () => {
  const world = await open();
  const token = await tokenOf(world);
  for (const text of ["x", "a.b.c", `${token}A`]) expect((await revoke(world, text)).status).toBe(200);
  const foreign = await revoke(world, token, basic("stranger", API_SECRET));
  expect([foreign.status, bodyText(foreign)]).toEqual([400, '{"error":"invalid_grant"}']);
  expect((await revoke(world, token, basic("batch", "wrong"))).status).toBe(401);
  expect(world.revocations.live.tokenCount).toBe(0);
  expect(bodyText(await introspect(world, token))).toContain('"active":true');
});

test("without the store the answer is 503, and the client repeats", async () => {
  const world = await open();
  const token = await tokenOf(world);
  world.revocations.failure = new CodedError("STORE_UNAVAILABLE", { message: "away" });
  const answer = await revoke(world, token);
  expect([answer.status, bodyText(answer)]).toEqual([503, '{"error":"temporarily_unavailable"}']);
  expect(answerHeader(answer, "retry-after")).toBe("2");
  world.revocations.failure = undefined;
  expect((await revoke(world, token)).status).toBe(200);
});

test("introspection needs to know as which API its client asks", () => {
  const bad = [{ username: "a", auth: { "oauth2-client": { client_id: "a", introspection: true } } }];
  return expect(openWorld({ consumers: bad })).rejects.toThrow("introspection needs resource");
});
