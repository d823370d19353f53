import fc from "fast-check";
import { expect, test } from "vitest";
import { makeView } from "../../src/plugin/testkit-view.ts";
import { openWorld, type World } from "./live-fixture.ts";

const ID = fc.constantFrom("1", "2", "3");
const plugins = fc.dictionary(
  fc.constantFrom("mark", "mark-two", "key", "nosuch"),
  fc.record({ text: fc.constantFrom("a", "b", "refuse"), phase: fc.constantFrom("rewrite", "access") }),
  { maxKeys: 2 },
);
const upstream = fc.constantFrom(1, 2).map((port) => ({ nodes: { [`127.0.0.1:${port}`]: 1 } }));
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const auth = maybe(fc.record({ key: fc.constantFrom("k1", "k2", "k3", "$ENV://K", "$ENV://NONE") }));

const route = fc.record({
  uri: fc.constantFrom("/a", "/a/*", "/*"),
  hosts: maybe(fc.constantFrom(["a.com"], ["*.com"])),
  priority: fc.integer({ min: 0, max: 1 }),
  service_id: maybe(ID),
  plugin_config_id: maybe(ID),
  upstream_id: maybe(ID),
  upstream: maybe(upstream),
  status: maybe(fc.constantFrom(0, 1)),
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
  plugins: fc.record({ key: auth, mark: maybe(fc.record({ text: fc.constantFrom("c", "d") })) }),
});

const record = fc.oneof(
  fc.tuple(fc.constant("routes"), ID, route),
  fc.tuple(fc.constant("services"), ID, service),
  fc.tuple(fc.constant("upstreams"), ID, upstream),
  fc.tuple(fc.constant("plugin_configs"), ID, fc.record({ plugins })),
  fc.tuple(fc.constant("global_rules"), ID, fc.record({ plugins })),
  fc.tuple(fc.constant("consumer_groups"), ID, fc.record({ plugins })),
  fc.tuple(fc.constant("consumers"), ID, consumer),
  fc.tuple(fc.constant("consumers/1/credentials"), ID, fc.record({ plugins: fc.record({ key: auth }) })),
  fc.tuple(fc.constant("plugin_metadata"), fc.constant("mark"), fc.record({ suffix: fc.constantFrom("!", "?") })),
);
const step = fc.array(fc.tuple(record, fc.boolean()), { minLength: 1, maxLength: 3 });

test("any history of changes serves like a fresh build of the records that are left", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (history) => {
      const environment = { K: "from-env" };
      const one = openWorld({ environment });
      const now = new Map<string, { value: unknown; created: number }>();
      for (const [at, changes] of history.entries()) {
        const batch: Record<string, unknown> = {};
        for (const [[dir, id, value], isDelete] of changes) batch[`${dir}/${id}`] = isDelete ? undefined : value;
        const refused = new Set(one.put(batch));
        // Refused records leave what was there: the fresh build gets the same.
        for (const [key, value] of Object.entries(batch)) {
          if (refused.has(`/apisix/${key}`)) continue;
          if (value === undefined) now.delete(key);
          else now.set(key, { value, created: now.get(key)?.created ?? at });
        }
        // Requests between changes compile things, which must not be seen later.
        await survey(one);
      }
      const two = openWorld({ environment });
      for (let at = 0; at < history.length; at++) {
        const batch = [...now].filter(([, { created }]) => created === at).map(([key, { value }]) => [key, value]);
        if (batch.length > 0) two.put(Object.fromEntries(batch));
      }
      expect(await survey(one)).toEqual(await survey(two));
      expect(one.live.counts).toEqual(two.live.counts);
    }),
    { numRuns: 50 },
  );
});

async function survey(world: World): Promise<unknown> {
  const seen: unknown[] = [];
  for (const target of ["/a", "/a/b", "/c"])
    for (const host of ["a.com", "b.com", "x.org"])
      for (const username of [undefined, "1", "2"]) {
        for (const k of ["k1", "from-env"]) seen.push(await world.ask({ target, headers: { host, k } }, username));
      }
  for (const key of ["k1", "k2", "k3", "from-env", "$ENV://NONE"]) {
    const found = world.live.env.credentials("key").get(key);
    seen.push([key, found?.consumer.username, found?.credentialId, found?.current]);
  }
  seen.push(world.live.match(makeView({ target: "/a" }))?.facts);
  return seen;
}
