/** `_meta.filter` on the plugins that work on responses: where it does not hold they leave request and response as they are. */
import { expect, test } from "vitest";
import type { Plugin } from "../../src/plugin/plugin.ts";
import { makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { bodyTransformer } from "../../src/plugins/body-transformer/body-transformer.ts";
import { brotli } from "../../src/plugins/brotli.ts";
import { errorPage } from "../../src/plugins/error-page.ts";
import { gzip } from "../../src/plugins/gzip.ts";
import { httpLogger } from "../../src/plugins/http-logger.ts";
import { proxyCache } from "../../src/plugins/proxy-cache/proxy-cache.ts";
import { applyMeta } from "../../src/runtime/plugins/plugin-meta.ts";

const CASES: readonly { readonly plugin: Plugin; readonly conf: object; readonly status?: number }[] = [
  { plugin: gzip, conf: { types: "*" } },
  { plugin: brotli, conf: { types: "*" } },
  { plugin: httpLogger, conf: { uri: "http://127.0.0.1:1", include_resp_body: true } },
  { plugin: bodyTransformer, conf: { response: { template: "x" } } },
  { plugin: proxyCache, conf: { cache_strategy: "memory", cache_zone: "memory_cache" } },
  { plugin: errorPage, conf: {}, status: 502 },
];

test.each(CASES.map((one) => ({ ...one, name: one.plugin.name })))("$name", async ({ conf, plugin, status }) => {
  const metadata = { "error-page": { enable: true, error_502: { body: "away" } } };
  const env = makeEnv({ plugins: CASES.map((one) => one.plugin), metadata });
  const phases = applyMeta(env.compile(plugin, conf), { filter: [["arg_on", "==", "1"]] }, "filter of a test");
  const touched = async (target: string): Promise<boolean> => {
    const view = makeView({ target });
    await runPhases(phases, view);
    const response = makeResponse({ status: status ?? 200, source: status ? "gateway" : "upstream" });
    view.upstream.statuses.push(response.status);
    view.response = response;
    phases.headerFilter?.(view, response);
    const { codings, headers, replacement, stages } = response;
    return codings.length + stages.length + headers.lines.length > 0 || replacement !== undefined;
  };
  expect([await touched("/?on=1"), await touched("/?on=0")]).toEqual([true, false]);
  phases.close?.();
});
