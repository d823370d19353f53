import { generateKeyPairSync } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { readJwkSet } from "../../src/base/jose/jwk.ts";
import type { TokenIssuer } from "../../src/model/token-issuer.ts";
import { type HeldKeys, sourceOf } from "../../src/token/key-feed.ts";
import type { FetchedKeys } from "../../src/token/key-fetch.ts";
import { KeyKeeper, WAITERS_MAX } from "../../src/token/key-keeper.ts";

const ALL = new Set(["ES256"]);
const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
const textOf = (...kids: string[]): string =>
  JSON.stringify({ keys: kids.map((kid) => ({ ...publicKey.export({ format: "jwk" }), kid })) });

function fetched(...kids: string[]): FetchedKeys {
  const jwks = textOf(...kids);
  const set = readJwkSet(Buffer.from(jwks), ALL);
  if (typeof set === "string") throw new Error(set);
  return { jwks, set, from: "https://id.example/keys", etag: undefined, maxAgeSeconds: undefined, issuer: undefined };
}

let clock: FakeClock;
/** Each fetch under way, oldest first. */
let flights: { end(result: FetchedKeys | "not modified"): void; fail(): void }[];
let fetches: number;
let forced: string[];

function open(record: Partial<TokenIssuer> = {}, saved?: HeldKeys): KeyKeeper {
  return new KeyKeeper({
    record: { issuer: "https://id.example", ...record },
    clock,
    random: () => 0.5,
    saved,
    fetch: () =>
      new Promise((resolve, reject) => {
        fetches++;
        flights.push({ end: resolve, fail: () => reject(new Error("no answer")) });
      }),
    read: ({ jwks }) => {
      const set = readJwkSet(Buffer.from(jwks), ALL);
      return typeof set === "string" ? undefined : set;
    },
    onFetched: () => undefined,
    onForced: (result) => void forced.push(result),
    onHeld: () => undefined,
  });
}

/** Lets what is settled be settled. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
async function end(result: FetchedKeys | "not modified" | "failure"): Promise<void> {
  const flight = flights.shift();
  if (!flight) throw new Error("no fetch is under way");
  if (result === "failure") flight.fail();
  else flight.end(result);
  await turn();
}

beforeEach(() => {
  clock = new FakeClock();
  flights = [];
  fetches = 0;
  forced = [];
});

describe("the schedule", () => {
  test("fetches when due, and then every refresh_interval", async () => {
    const keeper = open({ refresh_interval: 120 });
    keeper.due(1_500);
    clock.advance(1_499);
    expect(fetches).toBe(0);
    clock.advance(1);
    expect(fetches).toBe(1);
    await end(fetched("k1"));
    clock.advance(119_999);
    expect(fetches).toBe(1);
    clock.advance(1);
    expect(fetches).toBe(2);
  });

  test.each([
    [90, 90],
    [1, 60],
    [86_400, 300],
  ])("max-age %d of the answer makes it %d seconds", async (maxAgeSeconds, seconds) => {
    const keeper = open();
    keeper.due(0);
    clock.advance(0);
    await end({ ...fetched("k1"), maxAgeSeconds });
    clock.advance(seconds * 1_000 - 1);
    expect(fetches).toBe(1);
    clock.advance(1);
    expect(fetches).toBe(2);
  });

  test("a failure is tried again after 1, 2, 4 … 60 s with jitter, and the old set stays", async () => {
    const keeper = open();
    keeper.due(0);
    clock.advance(0);
    await end(fetched("k1"));
    clock.advance(300_000);
    for (const seconds of [1, 2, 4, 8, 16, 32, 60, 60]) {
      await end("failure");
      expect(keeper.failure).toBe("no answer");
      expect(keeper.held?.jwks).toBe(textOf("k1"));
      const before = fetches;
      clock.advance(seconds * 750 - 1); // 0.5 + 0.5 × 0.5
      expect(fetches).toBe(before);
      clock.advance(1);
      expect(fetches).toBe(before + 1);
    }
    await end(fetched("k2"));
    expect(keeper.failure).toBeUndefined();
    expect(keeper.held?.jwks).toBe(textOf("k2"));
  });

  test("an unchanged set is as good as a new one", async () => {
    const keeper = open();
    keeper.due(0);
    clock.advance(0);
    await end(fetched("k1"));
    clock.advance(300_000);
    await end("not modified");
    expect(keeper.held?.fetchedAtMs).toBe(clock.nowMs());
  });

  test("what became due during a fetch is fetched again soon after it", async () => {
    const keeper = open();
    keeper.due(0);
    clock.advance(0);
    keeper.due(500);
    await end(fetched("k1"));
    clock.advance(1_000);
    expect(fetches).toBe(2);
    await end(fetched("k1", "k2"));
    clock.advance(10_000);
    expect(fetches).toBe(2);
  });

  test("a closed keeper sets no timer", async () => {
    const keeper = open();
    keeper.due(0);
    clock.advance(0);
    keeper.close();
    await end(fetched("k1"));
    expect(clock.timers).toBe(0);
  });
});

describe("a token with an unknown kid", () => {
  async function openHeld(record: Partial<TokenIssuer> = {}): Promise<KeyKeeper> {
    const keeper = open(record);
    keeper.due(0);
    clock.advance(0);
    await end(fetched("k1"));
    return keeper;
  }

  test("waits for one fetch, which all share", async () => {
    const keeper = await openHeld();
    clock.advance(10_000);
    const waits = ["k2", "k3", undefined].map((kid) => keeper.wanted(kid));
    expect(fetches).toBe(2);
    expect(new Set(waits).size).toBe(1);
    await end(fetched("k1", "k2"));
    await expect(waits[0]).resolves.toBeUndefined();
  });

  test.each(["success", "failure"] as const)(
    "costs nothing within the cooldown of the last attempt, a %s",
    async (what) => {
      const keeper = await openHeld();
      clock.advance(10_000);
      void keeper.wanted("k2");
      await end(what === "success" ? fetched("k1") : "failure");
      expect(keeper.wanted("k3")).toBeUndefined();
      clock.advance(what === "success" ? 9_999 : 700);
      expect(keeper.wanted("k4")).toBeUndefined();
      expect(fetches).toBe(2);
      expect(forced).toEqual(["fetched", "cooldown", "cooldown"]);
    },
  );

  test("is refused at once when the issuer did not have it, until the next good set", async () => {
    const keeper = await openHeld();
    clock.advance(10_000);
    void keeper.wanted("gone");
    await end(fetched("k1"));
    clock.advance(20_000);
    expect(keeper.wanted("gone")).toBeUndefined();
    expect(forced.at(-1)).toBe("refused");
    expect(keeper.wanted("k2")).toBeDefined();
    await end(fetched("k1", "k2"));
    clock.advance(10_000);
    expect(keeper.wanted("gone")).toBeDefined();
  });

  test("waits 2 s at most, though the fetch takes longer", async () => {
    const keeper = await openHeld();
    clock.advance(10_000);
    let waited = false;
    void keeper.wanted("k2")?.then(() => {
      waited = true;
    });
    clock.advance(1_999);
    await turn();
    expect(waited).toBe(false);
    clock.advance(1);
    await turn();
    expect(waited).toBe(true);
    expect(keeper.wanted("k3")).toBeUndefined();
    expect(fetches).toBe(2);
  });

  test("is one of 1,024 that wait at most", async () => {
    const keeper = await openHeld();
    clock.advance(10_000);
    for (let i = 0; i < WAITERS_MAX; i++) expect(keeper.wanted(`x${i}`)).toBeDefined();
    expect(keeper.wanted("one more")).toBeUndefined();
    expect(keeper.waiting).toBe(WAITERS_MAX);
  });

  test("10,000 random ones in 60 s cost one fetch per cooldown, and a new key is known within one", async () => {
    const keeper = await openHeld({ refresh_interval: 3_600 });
    const before = fetches;
    for (let i = 0; i < 10_000; i++) {
      clock.advance(6);
      void keeper.wanted(`random ${i}`);
      if (flights.length > 0) await end(fetched("k1"));
    }
    expect(fetches - before).toBeLessThanOrEqual(60 / 10 + 1);
    const seenMs = clock.monotonicMs();
    while (keeper.wanted("new") === undefined) clock.advance(100);
    expect(clock.monotonicMs() - seenMs).toBeLessThanOrEqual(10_000);
  });

  test("a wrong signature under a known kid fetches in the background, under the same cooldown", async () => {
    const keeper = await openHeld();
    keeper.doubted();
    expect(fetches).toBe(1);
    clock.advance(10_000);
    keeper.doubted();
    keeper.doubted();
    expect(fetches).toBe(2);
  });
});

describe("a set that was kept", () => {
  const record = { issuer: "https://id.example" };
  test("serves at once", () => {
    const saved = { source: sourceOf(record), jwks: textOf("k1"), fetchedAtMs: 1, from: "x" };
    expect(open({}, saved).held).toBe(saved);
  });

  test.each([
    { issuer: "https://other.example" },
    { jwks_uri: "https://id.example/other" },
    { ssl_verify: false },
    { algorithms: ["RS256" as const] },
  ])("is not that of a record with %j", (change) => {
    const saved = { source: sourceOf(record), jwks: textOf("k1"), fetchedAtMs: 1, from: "x" };
    expect(open(change, saved).held).toBeUndefined();
  });

  test("that holds nothing of use is none", () => {
    const saved = { source: sourceOf(record), jwks: '{"keys":[]}', fetchedAtMs: 1, from: "x" };
    expect(open({}, saved).held).toBeUndefined();
  });
});
