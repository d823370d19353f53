/** `dpop_replay: redis`: a proof passes once wherever the same redis is asked, and nowhere while it is away. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeEnv, metricValue, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { authorizationServer } from "../../src/plugins/authorization-server/authorization-server.ts";
import { API, ISS, NOW, openTokenNode, SHOP, type TokenNode } from "../support/access-token.ts";
import { basic, FORM, GRANT, ISSUER, json, openWorld, SECRET, type World } from "../support/authorization-server.ts";
import { dpopKey, proofFor } from "../support/dpop.ts";
import { makeToken } from "../support/jwt.ts";
import { until } from "../support/process.ts";
import { askRedis, hasRedis, type RedisServer, startRedis } from "../support/redis.ts";

const KEY = dpopKey();
const URL_OF = "http://gateway.test/orders/1";
const BOUND = makeToken({
  ...{ algorithm: "ES256", header: { kid: "k1" } },
  payload: { iss: ISS, aud: API, sub: "orders-service", exp: NOW + 300, iat: NOW, cnf: { jkt: KEY.jkt } },
});

describe.skipIf(!hasRedis)("proofs in redis (skipped without /usr/bin/redis-server)", () => {
  let server: RedisServer;
  beforeAll(async () => {
    server = await startRedis();
  });
  afterAll(() => server.stop());

  const replay = () => ({ dpop_replay: "redis", redis_host: "127.0.0.1", redis_port: server.port, redis_timeout: 300 });
  const node = (): TokenNode => openTokenNode({ route: replay(), consumers: [SHOP] });
  const show = (to: TokenNode, proof: string) =>
    to.call({ target: "/orders/1", headers: { Authorization: `DPoP ${BOUND}`, DPoP: proof, Host: "gateway.test" } });
  const proof = (): string => proofFor({ url: URL_OF, token: BOUND, now: NOW }, { key: KEY });

  test("one passes once in all nodes, on whichever it is shown first, and at once on both", async () => {
    const [one, other] = [node(), node()];
    const [first, second, third] = [proof(), proof(), proof()];
    expect((await show(one, first)).status).toBe(200);
    expect((await show(other, first)).why).toBe("proof_replayed");
    expect((await show(one, first)).why).toBe("proof_replayed");
    expect((await show(other, second)).status).toBe(200);
    expect((await show(one, second)).why).toBe("proof_replayed");
    const both = await Promise.all([show(one, third), show(other, third)]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 401]);
    const seconds = await askRedis(server.port, `eval "return redis.call('ttl', redis.call('keys', '*')[1])" 0`);
    expect(Number(seconds.slice(1))).toBeGreaterThan(60); // as long as a proof could be shown
    expect(Number(seconds.slice(1))).toBeLessThanOrEqual(65);
  });

  test("so does one at the token endpoints of two nodes", async () => {
    const [one, other] = [await openWorld(), await openWorld()];
    const given = proofFor({ method: "POST", url: `${ISSUER}/oauth2/token`, now: NOW }, { key: KEY });
    const ask = async ({ env }: World) => {
      const phases = env.compile(authorizationServer, { id: "main", ...replay() });
      const headers = { "content-type": FORM, dpop: given, ...basic("batch", SECRET) };
      const answer = await runPhases(
        phases,
        makeView({ method: "POST", target: "/oauth2/token", headers, body: GRANT }),
      );
      phases.close?.();
      return answer && json(answer);
    };
    expect(await ask(one)).toMatchObject({ token_type: "DPoP" });
    expect(await ask(other)).toMatchObject({
      error: "invalid_dpop_proof",
      error_description: "The DPoP proof was used before",
    });
  });

  test("none passes while redis is away, none that was shown passes when it is back, and others do", async () => {
    const one = node();
    const [before, during] = [proof(), proof()];
    expect((await show(one, before)).status).toBe(200);
    await askRedis(server.port, "client pause 1500 all"); // answers nobody
    const refused = await show(one, during);
    expect([refused.status, refused.why, refused.body]).toEqual([
      ...[503, "proof_unchecked", '{"message":"Service temporarily unavailable"}'],
    ]);
    expect(await metricValue(one.env, "jotgate_dpop_total", { outcome: "proof_unchecked" })).toBe(1);
    await until("redis answers again", async () => (await show(one, proof())).status === 200);
    expect((await show(one, before)).why).toBe("proof_replayed");
  });
});

test("a bound token is refused where nothing listens: a redis that is not there lets nothing pass", async () => {
  const route = { dpop_replay: "redis", redis_host: "127.0.0.1", redis_port: 1, redis_timeout: 100 };
  const node = openTokenNode({ route, consumers: [SHOP] });
  const given = proofFor({ url: URL_OF, token: BOUND, now: NOW }, { key: KEY });
  const headers = { Authorization: `DPoP ${BOUND}`, DPoP: given, Host: "gateway.test" };
  expect((await node.call({ target: "/orders/1", headers })).why).toBe("proof_unchecked");
});

test.each([
  [{ dpop_replay: "redis" }, 'dpop_replay: "redis" needs redis_host'],
  [{ redis_host: "127.0.0.1" }, 'redis_host is of no use without dpop_replay: "redis"'],
  [{ dpop_replay: "node", redis_password: "x" }, 'redis_password is of no use without dpop_replay: "redis"'],
])("%o is refused: %s", (conf, says) => {
  const env = makeEnv();
  const route = { issuers: ["idp"], audiences: [API] };
  expect(() => env.compile(accessToken, { ...route, ...conf })).toThrow(says);
  expect(() => env.compile(authorizationServer, { id: "main", ...conf })).toThrow(says);
});
