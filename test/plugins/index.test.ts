import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { compileSchema } from "../../src/base/schema/schema.ts";
import { withDefaults } from "../../src/base/schema/schema-defaults.ts";
import { entryOf } from "../../src/plugin/plugin.ts";
import { PLUGINS as ENTRIES } from "../../src/plugins/index.ts";
import { ROOT } from "../support/process.ts";

const PLUGINS = ENTRIES.map((entry) => entry.load());
const page = (name: string): string => readFileSync(join(ROOT, "docs/plugins", `${name}.md`), "utf8");
const find = (name: string) => PLUGINS.find((plugin) => plugin.name === name);

/** Source: docs/spec/plugins.md section 2. */
const PRIORITIES: Readonly<Record<string, number>> = {
  "real-ip": 23_000,
  "client-control": 22_000,
  "request-id": 12_015,
  opentelemetry: 12_009,
  "fault-injection": 11_000,
  mocking: 10_900,
  cors: 4000,
  "ip-restriction": 3000,
  "ua-restriction": 2999,
  "referer-restriction": 2990,
  csrf: 2980,
  "uri-blocker": 2900,
  "request-validation": 2800,
  "multi-auth": 2600,
  "openid-connect": 2599,
  "authz-casbin": 2560,
  "ldap-auth": 2540,
  "grpc-web": 505,
  "hmac-auth": 2530,
  "basic-auth": 2520,
  "access-token": 2512, // ours alone, beside jwt-auth
  "oauth2-client": 2511, // ours alone, on consumers only
  "jwt-auth": 2510,
  "jwe-decrypt": 2509,
  "key-auth": 2500,
  acl: 2410,
  "consumer-restriction": 2400,
  "attach-consumer-label": 2399,
  "forward-auth": 2002,
  opa: 2001,
  "proxy-cache": 1085,
  "body-transformer": 1080,
  "proxy-mirror": 1010,
  "proxy-rewrite": 1008,
  workflow: 1006,
  "api-breaker": 1005,
  "limit-conn": 1003,
  "limit-count": 1002,
  "limit-req": 1001,
  brotli: 996,
  gzip: 995,
  "traffic-split": 966,
  redirect: 900,
  "response-rewrite": 899,
  "authorization-server": 502, // ours alone
  "public-api": 501,
  prometheus: 500,
  "error-page": 450,
  "loki-logger": 414,
  echo: 412,
  "http-logger": 410,
  "tcp-logger": 405,
  syslog: 401,
  "udp-logger": 400,
  "file-logger": 399,
};

describe("the built-in plugins", () => {
  test.each(ENTRIES.map((entry) => ({ entry, name: entry.name })))("what is listed of $name is true", ({ entry }) => {
    const { name, priority, hasCredential, hasApis } = entry;
    expect(entryOf(entry.load())).toMatchObject({ name, priority, hasCredential, hasApis });
  });

  test("have the priorities of APISIX", () => {
    expect(Object.fromEntries(PLUGINS.map((plugin) => [plugin.name, plugin.priority]))).toEqual(PRIORITIES);
  });

  test.each(PLUGINS.map((plugin) => ({ name: plugin.name })))("$name has a page with every field", ({ name }) => {
    const text = page(name);
    const schemas = [find(name)?.schema, find(name)?.credential?.schema] as ({ properties?: object } | undefined)[];
    const fields = schemas.flatMap((schema) => Object.keys(schema?.properties ?? {}));
    expect(fields.filter((field) => !text.includes(`\`${field}\``))).toEqual([]);
    expect(page("README")).toContain(`(${name}.md)`);
  });

  test.each(PLUGINS.map((plugin) => ({ name: plugin.name })))("$name's examples are accepted", ({ name }) => {
    const records = [...page(name).matchAll(/-X PUT -d '(\{.*?\n\})'/gs)].map((match) =>
      JSON.parse(match[1] as string),
    );
    expect(records.length).toBeGreaterThan(0);
    for (const record of records as { plugins: Record<string, unknown>; username?: string }[]) {
      for (const [plugin, conf] of Object.entries(record.plugins)) {
        const side = record.username === undefined ? undefined : find(plugin)?.credential;
        const schema = side?.schema ?? find(plugin)?.schema;
        expect(schema).toBeDefined();
        if (schema === undefined) continue;
        expect(compileSchema(schema, { references: true }).check(conf)).toBeUndefined();
        if (!side) expect(find(plugin)?.check?.(withDefaults(schema, conf), find)).toBeUndefined();
      }
    }
  });
});
