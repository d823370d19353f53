/** error-page: pages for what the gateway answers itself, on every lane. */

import type { TSchema } from "typebox";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withDefaults } from "../../src/base/schema/schema-defaults.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView, type ResponseInput } from "../../src/plugin/testkit/testkit-view.ts";
import { errorPage } from "../../src/plugins/error-page.ts";
import { EVERY_LANE, type LaneClient, openEveryLane, openNodeUpstream } from "../gateway/any-lane.ts";
import { upstreamOf } from "../gateway/support.ts";

const METADATA = {
  enable: true,
  error_404: {},
  error_502: { body: "<h1>away</h1>" },
  error_500: { body: '{"code":500}', content_type: "application/json" },
  error_503: { body: "" },
  error_429: { body: "slow down" },
};

function phasesOf(metadata: object | undefined) {
  const env = makeEnv({
    plugins: [errorPage],
    ...(metadata ? { metadata: { "error-page": withDefaults(errorPage.metadataSchema as TSchema, metadata) } } : {}),
  });
  return env.compile(errorPage, {});
}

function paged(metadata: object | undefined, input: ResponseInput): (string | undefined)[] {
  const response = makeResponse({ source: "gateway", headers: { "Content-Type": "application/json" }, ...input });
  phasesOf(metadata).headerFilter?.(makeView(), response);
  return [response.replacement?.toString(), response.headers.get("content-type")];
}

test.each([
  { status: 502, want: ["<h1>away</h1>", "text/html"] },
  { status: 500, want: ['{"code":500}', "application/json"] },
  { status: 404, want: [expect.stringContaining("<h1>404 Not Found</h1>"), "text/html"] },
  { status: 429, want: ["slow down", "text/html"] },
  { status: 503, want: [undefined, "application/json"] },
  { status: 405, want: [undefined, "application/json"] },
  { status: 401, want: [undefined, "application/json"] },
])("$status", ({ status, want }) => {
  expect(paged({ ...METADATA, error_401: { body: "no" } }, { status })).toEqual(want);
});

test("nothing is sent while it is not enabled or not configured, and never in place of an upstream's answer", () => {
  const own = [undefined, "application/json"];
  expect(paged(undefined, { status: 502 })).toEqual(own);
  expect(paged({ ...METADATA, enable: false }, { status: 502 })).toEqual(own);
  expect(paged(METADATA, { status: 502, source: "upstream" })).toEqual(own);
});

describe.each(EVERY_LANE)("$lane", (lane) => {
  const lanes = openEveryLane(lane);
  let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
  let client: LaneClient;
  beforeAll(async () => {
    upstream = await openNodeUpstream((_request, response) => response.writeHead(500).end("the upstream's own"));
    const plugins = [phasesOf(METADATA)];
    client = await lanes.open({
      x: { upstream: upstreamOf([upstream.port]), plugins },
      away: { upstream: upstreamOf([1]), plugins },
    });
  });
  afterAll(() => upstream.close());

  test("an upstream that is away has a page, one that answers an error none", async () => {
    const away = await client.ask({ path: "/away/x" });
    expect([away.status, away.body.toString()]).toEqual([502, "<h1>away</h1>"]);
    expect(away.headers["content-type"]).toBe("text/html; charset=utf-8");
    const answered = await client.ask({ path: "/x/x" });
    expect([answered.status, answered.body.toString()]).toEqual([500, "the upstream's own"]);
    const head = await client.ask({ path: "/away/x", method: "HEAD" });
    expect([head.status, head.body.length]).toEqual([502, 0]);
  });
});
