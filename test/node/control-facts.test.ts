import { expect, test } from "vitest";
import { keyringCodec } from "../../src/admin/sealing/keyring-codec.ts";
import { openKeyring } from "../../src/base/keyring.ts";
import { KINDS } from "../../src/model/kinds.ts";
import { controlFacts } from "../../src/node/control-facts.ts";
import type { Serving } from "../../src/node/serving.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { multiAuth } from "../../src/plugins/multi-auth.ts";
import { declaredMembersOf, pluginFieldsOf } from "../../src/runtime/field-opener.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";

const registry = openPluginRegistry([limitCount, multiAuth]);
const keyring = openKeyring(["0123456789abcdef"], "gcm");
const codec = keyringCodec(keyring, pluginFieldsOf(registry), "/apisix", declaredMembersOf(registry));
const upstream = {
  nodes: { "127.0.0.1:80": 1 },
  checks: { active: { http_path: "/h?api_key=hidden", req_headers: ["X-Auth: hidden", "X-Team: blue"] } },
};
const route = { uri: "/r", upstream, plugins: { "limit-count": { count: 1, time_window: 1 } } };

function recordsOf(stored: object) {
  const record = { value: Buffer.from(JSON.stringify(stored)), createRevision: 1n, modRevision: 2n };
  const serving = { entries: () => [["/apisix/routes/r", record]] } as unknown as Serving; // all that is asked of it
  const input = { id: "n", version: "1", registry, prefix: "/apisix", startedMs: 0, keyring, serving: () => serving };
  return controlFacts(input).records("routes");
}

test("records are shown as they run: opened, with defaults, nodes as a list, secrets masked", () => {
  const sealed = codec.seal(KINDS.route, "r", route);
  expect(JSON.stringify(sealed)).not.toContain("hidden");
  for (const stored of [route, sealed]) {
    const [record] = recordsOf(stored);
    expect(record?.value).toMatchObject({
      uri: "/r",
      status: 1,
      upstream: {
        type: "roundrobin",
        pass_host: "pass",
        hash_on: "vars",
        nodes: [{ host: "127.0.0.1", port: 80, weight: 1 }],
        checks: {
          active: { type: "http", http_path: "/h?api_key=********", req_headers: ["X-Auth: ********", "X-Team: blue"] },
        },
      },
      plugins: { "limit-count": { rejected_code: 503, key: "remote_addr" } },
    });
    expect(JSON.stringify(record)).not.toContain("hidden");
  }
});

test("a record that does not run is not shown", () => {
  expect(recordsOf({ uri: 1, upstream })).toEqual([]);
  expect(recordsOf({ uri: "/r", desc: "jotgate:1:00000000:AAAA" })).toEqual([]);
});

test("multi-auth is an authentication plugin", () => {
  const input = { id: "n", version: "1", registry, prefix: "/apisix", startedMs: 0, keyring, serving: () => undefined };
  expect(controlFacts(input).schemas().plugins["multi-auth"]).toMatchObject({ type: "auth" });
});
