/**
 * A connection that is kept, against a fresh one (and a fresh upstream connection) for each request, with jwt-auth before
 * the upstream: whatever came before on it, a request gets the same answer and shows the upstream the same bytes. Between
 * requests credentials change, tokens expire and are revoked, routes and their filters come and go.
 */
import { createSecretKey } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Routing } from "../../src/gateway/gateway-context.ts";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import {
  answering,
  cutResponse,
  openClient,
  openRawUpstream,
  openTestGateway,
  type RawClient,
  type RawUpstream,
  routingOf,
  type TestGateway,
  upstreamOf,
} from "../gateway/support.ts";
import { makeToken, SECRET } from "../support/jwt.ts";
import { openJwtNode } from "../support/jwt-auth.ts";
import { freePort } from "../support/ports.ts";
import { Dice, seeds } from "./http-input.ts";

const NOW = 1_700_000_000;
const node = openJwtNode();
let clock = NOW;
let secret: string = SECRET;
let owner = "jack";

const HEADS = [
  "HTTP/1.1 200 OK\r\nDate: today\r\nContent-Type: text/plain\r\n",
  "HTTP/1.1 200 OK\r\nDate: today\r\nContent-Type: application/json\r\nX-Long: value\r\n",
  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
  "HTTP/1.1 404 Not Found\r\nDate: today\r\nConnection: X-Hop\r\nX-Hop: 1\r\n",
  "HTTP/1.1 503 Busy\r\nDate: today\r\n",
  "HTTP/1.1 200 OK\r\nDate: today\r\nConnection: close\r\n",
];

/** By what the request says: the same head over and over, framed as the target wants it. */
function answerTo(request: string): string {
  const [, method = "", how = "0", framing = ""] = /^(\w+) \/\w*\/?(\d?)(\w*)/.exec(request) ?? [];
  const head = HEADS[Number(how) % HEADS.length] as string;
  const body = method === "HEAD" ? "" : "hello";
  if (framing === "chunked") return `${head}Transfer-Encoding: chunked\r\n\r\n${body && "5\r\nhello\r\n0\r\n\r\n"}`;
  if (framing === "none") return "HTTP/1.1 204 No Content\r\nDate: today\r\n\r\n";
  return `${head}Content-Length: 5\r\n\r\n${body}`;
}

interface Side {
  readonly gateway: TestGateway;
  readonly upstream: RawUpstream;
  readonly seen: string[];
}

let filtered = false;
let removed = false;

async function openSide(pool: { size: number }): Promise<Side> {
  const seen: string[] = [];
  const upstream = await openRawUpstream(
    answering((request) => {
      seen.push(request);
      return answerTo(request);
    }),
  );
  // All of one pool; the last is found at the second try, which a 503 shows.
  const shared = { ...pool, key: `sequences ${pool.size}` };
  const to = upstreamOf([upstream.port], { pool: shared });
  const late = upstreamOf([await freePort(), upstream.port], { pool: shared });
  const auth = node.env.compile(jwtAuth, {});
  const filter: PluginPhases = {
    headerFilter: (_view, response) => {
      response.headers.set("X-Filtered", "yes");
      response.headers.remove("content-type");
    },
  };
  const known = (plugins: PluginPhases[]): Routing =>
    routingOf({
      jwt: { upstream: to, plugins: [auth, ...plugins] },
      plain: { upstream: to, plugins },
      late: { upstream: late, plugins },
    });
  const [plain, edited, none] = [known([]), known([filter]), routingOf({})];
  const now = (): Routing => (removed ? none : filtered ? edited : plain);
  const routing: Routing = {
    match: (...asked) => now().match(...asked),
    globalPipeline: (route) => now().globalPipeline(route),
  };
  return { gateway: await openTestGateway(routing, { fastLane: true, headTimeoutMs: 60_000 }), upstream, seen };
}

let kept: Side;
let fresh: Side;

beforeAll(async () => {
  [kept, fresh] = await Promise.all([openSide({ size: 2 }), openSide({ size: 0 })]);
});
afterAll(async () => {
  await Promise.all([kept, fresh].map((side) => side.gateway.close(0)));
  await Promise.all([kept, fresh].map((side) => side.upstream.close()));
});

const tokens: Record<string, string> = {
  lasting: makeToken({ payload: { key: "jack-key" } }),
  second: makeToken({ payload: { key: "second-key" } }),
  /** Of one seed, as nothing takes back that a token was revoked. */
  spent: "",
  short: makeToken({ payload: { key: "jack-key", exp: NOW + 100 } }),
  other: makeToken({ payload: { key: "jack-key" }, key: createSecretKey(`${SECRET}!`, "utf8") }),
  bad: `${makeToken({ payload: { key: "jack-key" } }).slice(0, -4)}AAAA`,
};

const revoked = new Set<string>();
/** The rule that ends all tokens of jack, while it stands. */
let rule: string | undefined;

function revoke(token: string): void {
  node.revocations.revoke(token);
  revoked.add(token);
}

interface Asked {
  readonly method: string;
  /** The token, on the route of jwt-auth; "" elsewhere and without one. */
  readonly token: string;
  readonly bytes: string;
  /** It leaves the fast lane, with its connection. */
  readonly isForeign: boolean;
}

const BLOCKS = [
  "",
  "User-Agent: a\r\n",
  "User-Agent: b\r\n",
  "X-Consumer-Username: root\r\nx-forwarded-for: 1.1.1.1\r\n",
];

const ROUTES = ["jwt", "jwt", "plain", "late"];
const pathOf = (dice: Dice): string =>
  `/${dice.pick(ROUTES)}/${dice.pick([0, 0, 1, 2, 3, 4, 4, 5])}${dice.pick(["", "", "", "chunked", "none"])}`;

/** @param usual path of this client, which differs at times only */
function ask(dice: Dice, usual: string): Asked {
  const method = dice.pick(["GET", "GET", "GET", "HEAD", "POST"]);
  const path = dice.chance(3) ? usual.replace(/\w+/, () => dice.pick(ROUTES)) : usual;
  const carried = dice.chance(6) ? "" : dice.pick(Object.values(tokens));
  const token = carried && `Authorization: Bearer ${carried}\r\n`;
  const isForeign = dice.chance(40);
  const framing = isForeign
    ? "Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    : method === "POST"
      ? "Content-Length: 2\r\n\r\nhi"
      : "\r\n";
  const last = dice.chance(25) ? "Connection: close\r\n" : "";
  const bytes = `${method} ${path} HTTP/1.1\r\nHost: h:80\r\n${token}${dice.pick(BLOCKS)}${last}${framing}`;
  return { method, bytes, isForeign, token: path.startsWith("/jwt/") ? carried : "" };
}

const isRevoked = ({ token }: Asked): boolean =>
  revoked.has(token) || (token !== "" && rule !== undefined && owner === "jack");

/** The keys are somebody's, in the record itself or in one beside it. */
function give(dice: Dice): void {
  for (const one of ["jack", "jill"]) node.env.removeConsumer(one);
  owner = dice.pick(["jack", "jack", "jill"]);
  const auth = (key: string) => ({ "jwt-auth": { key, secret, algorithm: "HS256" } });
  const second = { id: "second", auth: auth("second-key") };
  const first = dice.chance(2) ? { auth: auth("jack-key") } : {};
  const beside = "auth" in first ? [second] : [{ id: "first", auth: auth("jack-key") }, second];
  node.env.setConsumer({ username: owner, ...first, credentials: beside });
}

/** What may change at any time. */
function change(dice: Dice): void {
  switch (dice.under(10)) {
    case 0:
      secret = dice.chance(3) ? `${SECRET}!` : SECRET;
      give(dice);
      return;
    case 1:
      clock = clock === NOW ? NOW + 100 : NOW; // the short token ends, or an operator puts the clock right
      node.env.clock.jump(clock === NOW ? -100_000 : 100_000);
      return;
    case 2:
      node.env.removeConsumer(owner);
      return;
    case 3:
    case 7:
    case 8:
      give(dice);
      return;
    case 4:
      filtered = !filtered;
      return;
    case 5:
      revoke(tokens["spent"] as string); // true: each seed makes one
      return;
    case 6:
      if (rule === undefined) rule = node.revocations.rule({ type: "consumer", value: "jack", issuedBefore: NOW });
      else {
        node.revocations.live.apply(rule, undefined);
        rule = undefined;
      }
      return;
    default:
      removed = dice.chance(3);
  }
}

/** Sends them, in pieces that end anywhere, and reads as many answers. @returns them, without what tells connections apart */
async function exchange(client: RawClient, asked: readonly Asked[], cuts: readonly number[]): Promise<string[]> {
  const start = client.text.length;
  const bytes = asked.map((one) => one.bytes).join("");
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    client.send(bytes.slice(at, cut));
    at = cut;
    if (at < bytes.length) await new Promise((resolve) => setImmediate(resolve));
  }
  const answers = (text: string): string[] => {
    const found: string[] = [];
    let rest = text.slice(start);
    for (const { method } of asked) {
      const answer = cutResponse(rest, method === "HEAD");
      if (!answer) break;
      found.push(`${answer.head.replace(/\r\nDate: \w{3}, [^\r]+/, "\r\nDate: now")}\r\n\r\n${answer.body}`);
      rest = answer.rest;
    }
    return found;
  };
  return answers(await client.until((text) => answers(text).length === asked.length));
}

const isLast = (one: Asked): boolean => one.isForeign || one.bytes.includes("Connection: close");
const lane = (request: string): string => request.replace(/\r\nX-Forwarded-Port: \d+/, "");

test("what came before on a connection changes no answer", async ({ task }) => {
  const { from, to } = seeds(20, task.timeout);
  const statuses = new Map<string, number>();
  for (let seed = from; seed < to; seed++) {
    const dice = new Dice(seed);
    tokens["spent"] = makeToken({ payload: { key: "jack-key", jti: String(seed) } });
    let usual = pathOf(dice);
    let before: Asked | undefined;
    let client = await openClient(kept.gateway.port);
    for (let step = 0; step < 25; step++) {
      if (dice.chance(3)) change(dice);
      else if (dice.chance(2)) removed = false;
      if (dice.chance(5)) usual = pathOf(dice);
      const first = before && dice.chance(2) ? before : ask(dice, usual);
      before = isLast(first) ? undefined : first;
      const asked = [first];
      // Clients say the same again and again, and do not always wait.
      const more = dice.pick([0, 0, 1, 4]);
      for (let n = 0; n < more && !isLast(asked[n] as Asked); n++)
        asked.push(dice.chance(3) ? ask(dice, usual) : first);
      const length = asked.reduce((sum, one) => sum + one.bytes.length, 0);
      const cuts = dice.chance(3) ? [dice.under(length), dice.under(length)].sort((a, b) => a - b) : [];
      kept.seen.length = 0;
      fresh.seen.length = 0;
      const got = await exchange(client, asked, cuts);
      const want: string[] = [];
      for (const one of asked) {
        const other = await openClient(fresh.gateway.port);
        want.push(...(await exchange(other, [one], [])));
        other.close();
      }
      const shown = `FUZZ_SEED=${seed}, step ${step}: ${JSON.stringify(asked.map((one) => one.bytes))} cut at ${cuts.join()}`;
      expect(got, shown).toEqual(want);
      expect(kept.seen.map(lane), shown).toEqual(fresh.seen.map(lane));
      for (const [at, one] of got.entries())
        if (isRevoked(asked[at] as Asked) && !removed) expect(one.slice(9, 12), shown).toBe("401");
      for (const one of got) statuses.set(one.slice(9, 12), (statuses.get(one.slice(9, 12)) ?? 0) + 1);
      if (!asked.some(isLast)) continue;
      client.close();
      client = await openClient(kept.gateway.port);
    }
    client.close();
    revoked.clear();
  }
  if (to - from > 1)
    for (const one of ["200", "204", "401", "404", "503"]) expect(statuses.get(one) ?? 0, one).toBeGreaterThan(5);
});
