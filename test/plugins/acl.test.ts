import { describe, expect, test } from "vitest";
import { bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { acl } from "../../src/plugins/acl.ts";

const FORBIDDEN = [403, '{"message":"The consumer is forbidden."}\n'];

/** Who asks: labels of a consumer, or claims of a token without one. */
async function ask(conf: object, who: { labels?: Record<string, string>; claims?: unknown }): Promise<unknown> {
  const consumers = who.labels ? [{ username: "jack", labels: who.labels }] : [];
  const env = makeEnv({ consumers });
  const view = makeView();
  view.consumer = env.consumer("jack");
  if (who.claims !== undefined) view.setNote("access_token_payload", who.claims);
  const phases = env.compile(acl, conf);
  const first = await runPhases(phases, view);
  expect(await runPhases(phases, view)).toBe(first); // judged once, answered alike
  return first && [first.status, bodyText(first)];
}

describe("acl by labels of consumers", () => {
  const jack = { org: "apache", project: "gateway, apisix,web-server" };
  const rose = { org: '["opensource","apache"]', project: '["tomcat","http,server"]' };
  test.each<{ conf: object; labels: Record<string, string>; want: unknown }>([
    { conf: { allow_labels: { org: ["apache"] } }, labels: jack, want: undefined },
    { conf: { allow_labels: { org: ["apache"] } }, labels: rose, want: undefined },
    { conf: { allow_labels: { project: ["apisix"] } }, labels: jack, want: undefined },
    { conf: { allow_labels: { project: ["apisix"] } }, labels: rose, want: FORBIDDEN },
    { conf: { allow_labels: { project: ["http,server"] } }, labels: rose, want: undefined },
    { conf: { allow_labels: { project: ["http"] } }, labels: rose, want: FORBIDDEN },
    { conf: { allow_labels: { team: ["a"], org: ["apache"] } }, labels: jack, want: undefined },
    { conf: { allow_labels: { org: ["apache"] } }, labels: {}, want: FORBIDDEN },
    { conf: { allow_labels: { constructor: ["a"] } }, labels: {}, want: FORBIDDEN },
    { conf: { deny_labels: { project: ["apisix", "tomcat"] } }, labels: rose, want: FORBIDDEN },
    { conf: { deny_labels: { project: ["apisix"] } }, labels: rose, want: undefined },
    {
      conf: {
        deny_labels: { org: ["apache"] },
        allow_labels: { org: ["apache"] },
        rejected_code: 404,
        rejected_msg: "no",
      },
      labels: jack,
      want: [404, '{"message":"no"}\n'],
    },
  ])("$conf for $labels", async ({ conf, labels, want }) => {
    expect(await ask(conf, { labels })).toEqual(want);
  });
});

describe("acl by what a token says, where there is no consumer", () => {
  const teams = (more: object) => ({
    allow_labels: { team: ["infra"] },
    external_user_label_field_key: "team",
    ...more,
  });
  const segmented = { external_user_label_field_parser: "segmented_text", external_user_label_field_separator: "\\|" };
  test.each<{ conf: object; claims: object; want: unknown }>([
    { conf: { allow_labels: { groups: ["staff"] } }, claims: { groups: ["guests", "staff"] }, want: undefined },
    { conf: { allow_labels: { groups: ["staff"] } }, claims: { groups: "guests,staff" }, want: undefined },
    { conf: { allow_labels: { groups: ["staff"] } }, claims: { sub: "a" }, want: FORBIDDEN },
    { conf: { allow_labels: { groups: ["7"] } }, claims: { groups: 7 }, want: FORBIDDEN },
    {
      conf: teams({ external_user_label_field: "$.orgs..team" }),
      claims: { orgs: { a: { team: ["infra"] } } },
      want: undefined,
    },
    {
      conf: teams({ external_user_label_field: "$['https://x/t']" }),
      claims: { "https://x/t": "infra" },
      want: undefined,
    },
    {
      conf: teams({ external_user_label_field: "team", ...segmented }),
      claims: { team: "cloud | infra" },
      want: undefined,
    },
    { conf: teams({ external_user_label_field: "team", ...segmented }), claims: { team: ["infra"] }, want: FORBIDDEN },
    {
      conf: teams({ external_user_label_field: "team", external_user_label_field_parser: "json" }),
      claims: { team: "infra" },
      want: FORBIDDEN,
    },
    {
      conf: teams({ external_user_label_field: "team", external_user_label_field_parser: "table" }),
      claims: { team: "infra" },
      want: FORBIDDEN,
    },
    {
      conf: {
        ...teams({ external_user_label_field: "$..name", ...segmented }),
        allow_labels: undefined,
        deny_labels: { team: ["infra"] },
      },
      claims: { teams: [{ name: "cloud" }, { name: "a|infra" }, { name: ["b"] }] },
      want: FORBIDDEN,
    },
  ])("$conf for $claims", async ({ conf, claims, want }) => {
    expect(await ask(JSON.parse(JSON.stringify(conf)), { claims })).toEqual(want);
  });

  test("nobody at all is a 401", async () => {
    expect(await ask({ deny_labels: { a: ["b"] } }, {})).toEqual([401, '{"message":"Missing authentication."}\n']);
  });
});

test.each([
  [{}, 'object matches none of the required: ["allow_labels"] or ["deny_labels"]'],
  [{ allow_labels: { a: ["b"] }, external_user_label_field: "$..([invalid" }, "invalid external_user_label_field: "],
  [{ allow_labels: { a: ["b"] }, rejected_code: 600 }, "rejected_code: no status is above 599"],
  [{ allow_labels: { a: ["b"] }, rejected_code: 199 }, "rejected_code"],
  [{ allow_labels: { a: ["b"] }, external_user_label_field_parser: "segmented_text" }, "then clause did not match"],
  [
    {
      allow_labels: { a: ["b"] },
      external_user_label_field_parser: "segmented_text",
      external_user_label_field_separator: "(?=a)",
    },
    "invalid external_user_label_field_separator: ",
  ],
])("acl refuses %j", (conf, text) => {
  expect(() => makeEnv().compile(acl, conf)).toThrow(text);
});
