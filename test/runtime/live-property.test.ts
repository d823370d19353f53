import fc from "fast-check";
import { expect, test } from "vitest";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { runs } from "../support/long-run.ts";
import { openWorld, type World } from "./live-fixture.ts";

const ID = fc.constantFrom("1", "2");
const text = fc.oneof(
  { arbitrary: fc.constantFrom("a", "b"), weight: 9 },
  { arbitrary: fc.constant("refuse"), weight: 1 },
);
const plugins = fc.dictionary(
  fc.constantFrom("mark", "mark-two", "nosuch"),
  fc.record({ text, phase: fc.constantFrom("rewrite", "access") }),
  { maxKeys: 2 },
);
const upstream = fc.constantFrom(1, 2).map((port) => ({ nodes: { [`127.0.0.1:${port}`]: 1 } }));
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 2 });
const auth = maybe(fc.record({ key: fc.constantFrom("k1", "k2", "$ENV://K", "$ENV://NONE") }));
const mark = maybe(fc.record({ text: fc.constantFrom("c", "d") }));

const route = fc.record({
  uri: fc.constantFrom("/a", "/*"),
  hosts: fc.option(fc.constantFrom(["a.com"], ["*.com"]), { nil: undefined, freq: 1 }),
  priority: fc.integer({ min: 0, max: 1 }),
  service_id: maybe(ID),
  plugin_config_id: maybe(ID),
  upstream_id: fc.option(ID, { nil: undefined, freq: 1 }),
  upstream: maybe(upstream),
  status: fc.constantFrom(1, 1, 1, 0),
  plugins,
});
const service = fc.record({
  hosts: maybe(fc.constantFrom(["a.com"], ["b.com"])),
  upstream_id: maybe(ID),
  upstream: maybe(upstream),
  plugins,
});
const consumer = fc.record({
  username: fc.constant("x"),
  group_id: maybe(ID),
  plugins: fc.record({ key: auth, mark }),
});

const record = fc.oneof(
  { arbitrary: fc.tuple(fc.constant("routes"), ID, route), weight: 4 },
  { arbitrary: fc.tuple(fc.constant("services"), ID, service), weight: 2 },
  { arbitrary: fc.tuple(fc.constant("upstreams"), ID, upstream), weight: 1 },
  { arbitrary: fc.tuple(fc.constant("plugin_configs"), ID, fc.record({ plugins })), weight: 1 },
  { arbitrary: fc.tuple(fc.constant("global_rules"), ID, fc.record({ plugins })), weight: 1 },
  { arbitrary: fc.tuple(fc.constant("consumer_groups"), ID, fc.record({ plugins })), weight: 2 },
  { arbitrary: fc.tuple(fc.constant("consumers"), ID, consumer), weight: 3 },
  {
    arbitrary: fc.tuple(fc.constant("consumers/1/credentials"), ID, fc.record({ plugins: fc.record({ key: auth }) })),
    weight: 1,
  },
  {
    arbitrary: fc.tuple(
      fc.constant("plugin_metadata"),
      fc.constant("mark"),
      fc.record({ suffix: fc.constantFrom("!", "?") }),
    ),
    weight: 1,
  },
);
const isDelete = fc.nat(4).map((n) => n === 0);
const step = fc.array(fc.tuple(record, isDelete), { minLength: 1, maxLength: 3 });

test("after every step of any history requests are served as by a fresh build of the records that are left", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 8, maxLength: 14, size: "max" }), async (history) => {
      const grown = openWorld({ environment });
      const now = new Map<string, { value: unknown; created: number; refused: boolean }>();
      const births = new Map<string, number>();
      for (const [at, changes] of history.entries()) {
        const batch: Record<string, unknown> = {};
        for (const [[dir, id, value], gone] of changes) batch[`${dir}/${id}`] = gone ? undefined : value;
        const refused = new Set(grown.put(batch));
        // Refused records leave what was there, and refuse requests where nothing was: the fresh build gets the same.
        for (const [key, value] of Object.entries(batch)) {
          // The store creates the key all the same, and the older of two equal routes counts.
          if (value === undefined) births.delete(key);
          else if (!births.has(key)) births.set(key, at);
          const isRefused = refused.has(`/apisix/${key}`);
          if (isRefused && now.get(key)?.refused === false) continue;
          if (value === undefined) now.delete(key);
          else now.set(key, { value, created: births.get(key) ?? at, refused: isRefused });
        }
        const fresh = openWorld({ environment });
        for (let created = 0; created <= at; created++) {
          const born = [...now].filter(([, record]) => record.created === created);
          if (born.length > 0) fresh.put(Object.fromEntries(born.map(([key, { value }]) => [key, value])));
        }
        expect(await survey(grown)).toEqual(await survey(fresh));
        expect(grown.live.counts).toEqual(fresh.live.counts);
      }
    }),
    { numRuns: runs(8) },
  );
});

const environment = { K: "from-env" };

/** What requests meet now, in a few words. */
async function survey(world: World): Promise<unknown> {
  const seen: unknown[] = [];
  for (const target of ["/a", "/c"])
    for (const host of ["a.com", "b.com"])
      for (const username of [undefined, "1"]) {
        seen.push(await world.ask({ target, headers: { host } }, username));
      }
  for (const key of ["k1", "k2", "from-env", "$ENV://NONE"]) {
    const found = world.live.env.credentials("key").get(key);
    seen.push([key, found?.consumer.username, found?.credentialId, found?.current]);
  }
  seen.push(world.live.match(makeView({ target: "/a" }))?.facts);
  // Only the world with a history has heard of the records that were refused; in which order problems are listed, it says too.
  const problems = world.live.problems().filter(({ reason }) => !reason.includes("refuse"));
  seen.push(problems.map(({ key, reason }) => `${key}: ${reason}`).sort());
  return seen;
}
