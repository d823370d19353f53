import { describe, expect, test } from "vitest";
import { attachConsumer, openRefusals } from "../../src/plugin/caller-identity.ts";
import { HeaderList } from "../../src/plugin/headers.ts";
import type { Consumer } from "../../src/plugin/plugin-consumer.ts";
import { answerHeader, bodyText, makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { findCookie, removeCookie } from "../../src/plugin/variables/cookies.ts";
import { findArgument, removeArgument } from "../../src/plugin/variables/query.ts";

const consumer = (customId?: string): Consumer => ({ username: "jack", groupId: undefined, customId, labels: {} });

describe("attaching a consumer", () => {
  test("sets the view and the three headers, whatever the client sent", () => {
    const view = makeView({
      headers: ["x-consumer-username", "spoof", "X-CONSUMER-USERNAME", "spoof2", "X-Credential-Identifier", "spoof"],
    });
    attachConsumer(view, consumer("c-7"), "cred-1");
    expect(view.consumer?.username).toBe("jack");
    expect(view.credentialId).toBe("cred-1");
    expect(view.headers.getAll("x-consumer-username")).toEqual(["jack"]);
    expect(view.headers.getAll("x-credential-identifier")).toEqual(["cred-1"]);
    expect(view.headers.getAll("x-consumer-custom-id")).toEqual(["c-7"]);
  });

  test("says each time which credential it was", () => {
    const jack = consumer("c-7");
    for (const id of ["one", "one", "two", undefined, "one"]) {
      const view = makeView({ headers: {} });
      attachConsumer(view, jack, id);
      expect(view.headers.get("x-credential-identifier")).toBe(id);
      expect(view.headers.get("x-consumer-custom-id")).toBe("c-7");
    }
  });

  test("removes what the consumer does not have", () => {
    const view = makeView({ headers: { "X-Credential-Identifier": "spoof", "X-Consumer-Custom-ID": "spoof" } });
    attachConsumer(view, consumer(), undefined);
    expect(view.headers.has("x-credential-identifier")).toBe(false);
    expect(view.headers.has("x-consumer-custom-id")).toBe(false);
  });

  test.each(["a\r\nX-Admin: 1", "a\nb", "a\0b", "日本", "", " ", "a\u007f"])("drops the unsafe value %j", (value) => {
    const view = makeView({ headers: { "X-Consumer-Custom-ID": "spoof" } });
    attachConsumer(view, consumer(value), undefined);
    expect(view.headers.has("x-consumer-custom-id")).toBe(false);
  });
});

describe("a refusal", () => {
  const options = { challenge: 'Bearer realm="jwt"', anonymousConsumer: undefined };

  test("is a 401 with the challenge", () => {
    const answer = openRefusals(makeEnv(), options).answer("no", "why");
    expect([answer.status, bodyText(answer), answerHeader(answer, "www-authenticate")]).toEqual([
      401,
      '{"message":"no"}\n',
      'Bearer realm="jwt"',
    ]);
  });

  test("says the same for every reason in strict", () => {
    const refusals = openRefusals(makeEnv({ settings: { compat: "strict" } }), options);
    expect(bodyText(refusals.answer("a", "a"))).toBe(bodyText(refusals.answer("b", "b")));
  });

  test("becomes the anonymous consumer when there is one, as of now", () => {
    const env = makeEnv();
    const refusals = openRefusals(env, { ...options, anonymousConsumer: "guest" });
    const refused = refusals.answer("no", "why");
    const view = makeView();
    expect(bodyText(refusals.authenticationFailed(view, refused))).toBe('{"message":"Invalid user authorization"}\n');
    env.setConsumer({ username: "guest" });
    expect(refusals.authenticationFailed(view, refused)).toBeUndefined();
    expect(view.consumer?.username).toBe("guest");
  });
});

test.each([
  { says: "absent", query: "a=1", want: undefined },
  { says: "no query", query: undefined, want: undefined },
  { says: "first value", query: "a=1&jwt=x", want: { value: "x", repeated: false, valueless: false } },
  {
    says: "decoded name and value",
    query: "%6awt=a%2Eb+c",
    want: { value: "a.b c", repeated: false, valueless: false },
  },
  { says: "empty", query: "jwt=", want: { value: "", repeated: false, valueless: false } },
  { says: "valueless", query: "jwt", want: { value: "", repeated: false, valueless: true } },
  { says: "repeated", query: "jwt=a&b&%6a%77t=c", want: { value: "a", repeated: true, valueless: false } },
  { says: "repeated, once valueless", query: "jwt=a&jwt", want: { value: "a", repeated: true, valueless: true } },
  { says: "bad escapes", query: "jwt=%zz%ff", want: { value: "%zzÿ", repeated: false, valueless: false } },
  { says: "not a prefix of another", query: "jwt2=a&xjwt=b", want: undefined },
])("finding an argument: $says", ({ query, want }) => {
  expect(findArgument(query, "jwt")).toEqual(want);
});

test.each([
  { says: "alone", query: "jwt=x", want: undefined },
  { says: "first", query: "jwt=x&a=%7E+b", want: "a=%7E+b" },
  { says: "between, keeping odd bytes", query: "a=%2f;x&jwt=x&&b==", want: "a=%2f;x&&b==" },
  { says: "every spelling", query: "%6awt=x&a&jwt", want: "a" },
  { says: "nothing to remove", query: "a=1&b", want: "a=1&b" },
  { says: "no query", query: undefined, want: undefined },
])("removing an argument: $says", ({ query, want }) => {
  expect(removeArgument(query, "jwt")).toBe(want);
});

test.each([
  { says: "absent", lines: ["Cookie", "a=b; xjwt=1; JWT=2"], want: undefined },
  { says: "among others", lines: ["Cookie", "a=b; jwt=t; c=d"], want: { value: "t", conflicting: false } },
  { says: "in a second line", lines: ["cookie", "a=b", "COOKIE", "jwt=t"], want: { value: "t", conflicting: false } },
  { says: "empty", lines: ["Cookie", "jwt="], want: { value: "", conflicting: false } },
  { says: "twice the same", lines: ["Cookie", "jwt=t;jwt=t"], want: { value: "t", conflicting: false } },
  { says: "twice, differing", lines: ["Cookie", "jwt=t; jwt=u"], want: { value: "t", conflicting: true } },
  { says: "a word without =", lines: ["Cookie", "jwt; a=jwt=1"], want: undefined },
])("finding a cookie: $says", ({ lines, want }) => {
  expect(findCookie(new HeaderList([...lines]), "jwt")).toEqual(want);
});

test.each([
  { says: "in the middle", line: "a=b; jwt=t; c=d", want: "a=b; c=d" },
  { says: "first", line: "jwt=t; c=d", want: "c=d" },
  { says: "last", line: 'a="x y,z" ; jwt=t', want: 'a="x y,z" ' },
  { says: "twice", line: "jwt=t; a=@!%20; jwt=u;b", want: "a=@!%20;b" },
  { says: "alone", line: "jwt=t", want: undefined },
  { says: "not there", line: " a=b;;c", want: " a=b;;c" },
])("removing a cookie: $says", ({ line, want }) => {
  const headers = new HeaderList(["Host", "h", "Cookie", line, "X", "1"]);
  expect(removeCookie(headers, "jwt")).toBe(line !== want);
  expect(headers.get("cookie")).toBe(want);
  expect(headers.get("x")).toBe("1");
});
