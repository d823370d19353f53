import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { HashIndex, hashOf } from "../../src/base/packed/hash-index.ts";
import { PackedMap } from "../../src/base/packed/packed-map.ts";
import { DormantConsumers, type PluginKey } from "../../src/runtime/consumers/dormant-consumers.ts";
import { runs } from "../support/long-run.ts";
import { openWorld, type World } from "./live-fixture.ts";

const NAMES = ["1", "2", "3"];
const KEYS = ["k1", "k2", "k3", "from-env"];
const environment = { K: "from-env" };
const key = fc.constantFrom("k1", "k2", "k3", "$ENV://K", "$ENV://NONE");
const plugins = fc.record({
  key: fc.option(fc.record({ key }), { nil: undefined, freq: 5 }),
  mark: fc.option(fc.record({ text: fc.constantFrom("a", "b") }), { nil: undefined, freq: 1 }),
});
const name = fc.constantFrom(...NAMES);
const record = fc.oneof(
  fc
    .tuple(name, plugins, fc.option(fc.constantFrom("c1", "c2")))
    .map(([id, own, label]) => [`consumers/${id}`, { plugins: own, ...(label && named(label)) }] as const),
  fc
    .tuple(name, fc.constantFrom("x", "y"), key)
    .map(
      ([id, credential, own]) =>
        [`consumers/${id}/credentials/${credential}`, { plugins: { key: { key: own } } }] as const,
    ),
);
const change = fc.tuple(record, fc.nat(3)).map(([[id, value], n]) => [id, n === 0 ? undefined : value] as const);
const QUESTIONS = [...KEYS, ...NAMES.map((one) => `consumer ${one}`), "label c1", "label c2"];
const asked = fc.array(fc.constantFrom(...QUESTIONS), { maxLength: 1 });
const step = fc.tuple(fc.array(change, { minLength: 1, maxLength: 3 }), asked);

test("who is asked for late is served as one who was asked for after each change", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 4, maxLength: 16, size: "max" }), (history) => {
      const [asleep, awake] = [openWorld({ environment }), openWorld({ environment })];
      for (const [changes, questions] of history) {
        const batch = Object.fromEntries(changes);
        asleep.put(batch);
        awake.put(batch);
        for (const question of QUESTIONS) answer(awake, question);
        for (const question of questions) expect(answer(asleep, question)).toEqual(answer(awake, question));
        // Problems and counts do not wait for a question.
        expect(facts(asleep)).toEqual(facts(awake));
      }
      for (const question of QUESTIONS) expect(answer(asleep, question)).toEqual(answer(awake, question));
    }),
    { numRuns: runs(60) },
  );
});

function named(customId: string): object {
  return { labels: { custom_id: customId } };
}

function answer(world: World, question: string): unknown {
  const [kind, id] = question.split(" ");
  if (kind === "consumer") return [...credentialsOf(world, id ?? ""), world.live.env.consumer(id ?? "")?.username];
  if (kind === "label") return world.live.env.consumerByCustomId(id ?? "")?.username;
  const found = world.live.env.credentials("key").get(question);
  if (found) expect(found.consumer).toBe(world.live.env.consumer(found.consumer.username));
  return [found?.consumer.username, found?.credentialId, found?.current];
}

/** All of a consumer are those that are found by their keys. */
function credentialsOf({ live: { env } }: World, username: string): readonly unknown[] {
  const all = env.credentialsOf("key", username);
  for (const one of all) {
    expect(env.credentials("key").get(one.key)).toBe(one);
    expect(one.consumer.username).toBe(username);
  }
  const found = KEYS.map((one) => env.credentials("key").get(one)).filter((one) => one?.consumer.username === username);
  expect(new Set(all)).toEqual(new Set(found));
  return all.map(({ key: one, credentialId }) => `${credentialId} ${one}`).sort();
}

function facts(world: World): unknown {
  const problems = world.live.problems().map(({ key: storeKey, reason }) => [storeKey, reason]);
  return [world.live.counts, problems];
}

test("a plugin that is not loaded is named when the record comes, not when somebody asks", () => {
  const lines: unknown[] = [];
  const log = { warn: (fields: unknown) => lines.push(fields), info: () => {}, error: () => {}, debug: () => {} };
  const world = openWorld({ log: { ...log, child: () => log } as never });
  world.put({ "consumers/jack": { plugins: { nosuch: {}, key: { key: "k" } } } });
  expect(lines).toEqual([expect.objectContaining({ key: "/apisix/consumers/jack" })]);
  expect(JSON.stringify(lines)).toContain("nosuch");
});

test("sealed members are opened again when somebody asks", () => {
  const world = openWorld({
    decrypt: (_key, value) => JSON.parse(JSON.stringify(value).replaceAll("sealed:", "")),
  });
  world.put({ "consumers/jack": { plugins: { key: { key: "sealed:k", secret: "sealed:s" } } } });
  expect(world.live.env.credentials("key").get("k")?.data).toEqual({ secret: "s" });
  expect(world.live.env.credentials("key").get("sealed:k")).toBeUndefined();
});

test("many records are found by key, by consumer and by id, and leave nothing behind", () => {
  const { dormant, put } = openDormant();
  for (let n = 0; n < 20_000; n++) {
    put(`c${n}`, [["jwt-auth", `j${n}`]]);
    put(`c${n}/credentials/one`, [
      ["key-auth", `k${n}`],
      ["jwt-auth", `other${n}`],
    ]);
  }
  expect([dormant.consumerCount, dormant.credentialCount]).toEqual([20_000, 20_000]);
  expect([dormant.countOf("jwt-auth"), dormant.countOf("key-auth"), dormant.countOf("x")]).toEqual([40_000, 20_000, 0]);
  expect(dormant.ownerByKey("jwt-auth", "other777")).toBe("c777");
  expect(dormant.ownerByKey("key-auth", "j777")).toBeUndefined();
  expect(dormant.take("c5/credentials/one")).toMatchObject({ id: "c5/credentials/one", modRevision: 2n });
  expect(dormant.takeAllOf("c5").map(({ id }) => id)).toEqual(["c5"]);
  expect(dormant.takeAllOf("c6").map(({ id }) => id)).toEqual(["c6", "c6/credentials/one"]);
  for (let n = 0; n < 20_000; n++) dormant.takeAllOf(`c${n}`);
  expect([dormant.consumerCount, dormant.credentialCount, dormant.countOf("jwt-auth")]).toEqual([0, 0, 0]);
  expect(dormant.take("c5")).toBeUndefined();
  expect(dormant.ownerByKey("jwt-auth", "j7")).toBeUndefined();
});

test("the credentials of one consumer are not searched one by one, and are all found", () => {
  const added = vi.spyOn(HashIndex.prototype, "add");
  const { dormant, put } = openDormant();
  put("c", []);
  for (let n = 0; n < 20_000; n++) put(`c/credentials/${n}`, [["key-auth", `k${n}`]]);
  const together = new Map<number, number>();
  for (const [hash] of added.mock.calls) together.set(hash, (together.get(hash) ?? 0) + 1);
  added.mockRestore();
  expect(Math.max(...together.values())).toBeLessThan(1_000);
  expect(dormant.take("c/credentials/7")?.id).toBe("c/credentials/7");
  expect(new Set(dormant.takeAllOf("c").map(({ id }) => id)).size).toBe(20_000);
  expect([dormant.consumerCount, dormant.credentialCount]).toEqual([0, 0]);
});

test("credentials deleted in one revision are found by nobody in that very turn, whoever takes their keys over", async () => {
  const world = openWorld();
  const count = 5_000; // more than a slice
  const consumers = Array.from({ length: count }, (_, n) => [
    `consumers/c${n}`,
    { plugins: { key: { key: `k${n}` } } },
  ]);
  world.put(Object.fromEntries(consumers));
  for (let n = 0; n < count; n += 10) answer(world, `k${n}`); // one in ten is awake
  const gone = Object.fromEntries(consumers.map(([name]) => [name, undefined]));
  world.put({ ...gone, "consumers/heir": { plugins: { key: { key: "k4999" } } } });
  const found = consumers.filter((_, n) => n < count - 1 && world.live.env.credentials("key").get(`k${n}`));
  expect(found).toEqual([]);
  expect(world.live.env.consumer("c4998")).toBeUndefined();
  expect(answer(world, "k4999")).toEqual(["heir", undefined, true]);
  world.put({ "consumers/c4998": { plugins: { key: { key: "k4998" } } } }); // its own key, before the rest is cleared
  expect(world.problemsOf("consumers/c4998")).toEqual([]);
  await vi.waitFor(() => expect(world.live.counts.consumer).toBe(2), { timeout: 60_000 });
  expect(answer(world, "k4998")).toEqual(["c4998", undefined, true]);
});

test("thousands with one key or custom_id are taken in and out one by one, the earliest is found", () => {
  const world = openWorld();
  const count = 3_000;
  const same = { labels: { custom_id: "same" }, plugins: { key: { key: "same" } } };
  for (let n = 0; n < count; n++) world.put({ [`consumers/c${n}`]: same });
  expect(world.live.problemCount).toBe(count - 1);
  for (let n = 0; n < count; n += 2) world.put({ [`consumers/c${n}`]: undefined });
  expect(answer(world, "same")).toEqual(["c1", undefined, true]);
  expect(world.problemsOf("consumers/c2999")).toEqual(["its key key is already used by /apisix/consumers/c1"]);
  expect([world.live.problemCount, answer(world, "label same")]).toEqual([count / 2 - 1, undefined]);
  world.put(Object.fromEntries(Array.from({ length: count - 2 }, (_, n) => [`consumers/c${n}`, undefined])));
  expect([answer(world, "same"), answer(world, "label same")]).toEqual([["c2999", undefined, true], "c2999"]);
  expect([world.live.problemCount, world.live.counts.consumer]).toEqual([0, 1]);
});

test("a placeholder where nothing was taken can be replaced and deleted", () => {
  const world = openWorld();
  world.put({ "consumers/a": "init_dir", "consumers/b": "init_dir", "consumers/b/credentials/c": "init_dir" });
  expect(world.put({ "consumers/a": { plugins: { key: { key: "one" } } } })).toBeUndefined();
  expect(world.put({ "consumers/b": undefined, "consumers/b/credentials/c": undefined })).toBeUndefined();
  expect(answer(world, "one")).toEqual(["a", undefined, true]);
});

test("two keys or names with one hash are told apart", () => {
  const [one, two] = collision(DIR, "c");
  const { dormant, put } = openDormant();
  for (const id of [one, two]) put(id, [["p", `key of ${id}`]]);
  expect([dormant.ownerByKey("p", `key of ${one}`), dormant.ownerByKey("p", `key of ${two}`)]).toEqual([one, two]);
  expect(dormant.take(one)?.value).toEqual({ keys: [["p", `key of ${one}`]] });
  expect([dormant.ownerByKey("p", `key of ${one}`), dormant.ownerByKey("p", `key of ${two}`)]).toEqual([
    undefined,
    two,
  ]);
});

test("a record without any key is taken once", () => {
  const { dormant, put } = openDormant();
  put("jack", []);
  expect([dormant.consumerCount, dormant.take("jill"), dormant.take("jack")?.id]).toEqual([1, undefined, "jack"]);
  expect([dormant.consumerCount, dormant.take("jack")]).toEqual([0, undefined]);
});

test("a placeholder over a record, and a version that is refused, leave the dormant one that was taken", () => {
  for (const bad of ["init_dir", "{"]) {
    const world = openWorld();
    const jack = (key: string): object => ({ plugins: { key: { key } } });
    world.put({ "consumers/jack": jack("one"), "routes/1": { uri: "/a", plugins: { mark: { text: "taken" } } } });
    expect(world.put({ "consumers/jack": bad, "routes/1": bad })).toEqual([
      "/apisix/consumers/jack",
      "/apisix/routes/1",
    ]);
    expect(answer(world, "one")).toEqual(["jack", undefined, true]);
    expect(world.live.route("1")?.pipeline.access).toHaveLength(1);
    world.put({ "consumers/jack": jack("two") });
    expect([answer(world, "one"), answer(world, "two")]).toEqual([
      [undefined, undefined, undefined],
      ["jack", undefined, true],
    ]);
  }
});

const DIR = "/apisix/consumers/";

function openDormant() {
  const records = new PackedMap();
  const dormant = new DormantConsumers({
    records,
    dir: DIR,
    read: (_key, bytes) => JSON.parse(bytes.toString()),
    keysIn: (value) => value["keys"] as readonly PluginKey[],
  });
  const put = (id: string, keys: readonly PluginKey[]): void => {
    records.set(DIR + id, Buffer.from(JSON.stringify({ keys })), 2n, 1n);
    dormant.add(id, keys);
  };
  return { dormant, put };
}

/** Among a hundred thousand names two have one hash; names that only count up meet far later. */
function collision(dir: string, prefix: string): readonly [string, string] {
  const seen = new Map<number, string>();
  for (let n = 0; ; n++) {
    const text = `${prefix}${n}${randomBytes(6).toString("base64url")}`;
    const before = seen.get(hashOf(dir + text));
    if (before !== undefined) return [before, text];
    seen.set(hashOf(dir + text), text);
  }
}
