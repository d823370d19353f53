import { expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { HeaderList } from "../../src/plugin/headers.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { compileTemplate } from "../../src/plugin/variables/template.ts";
import { escapesInBody } from "../../src/plugin/variables/text-places.ts";
import { compileLimitKey } from "../../src/plugins/limits/limit-key.ts";
import { compileHeaderEdits } from "../../src/plugins/shared/header-operations.ts";

const view = (value: string) =>
  makeView({ target: `/p%3Fq?v=${encodeURIComponent(value)}`, headers: { Cookie: "a=b; c" } });

test.each([
  { name: "X-Any", text: "$arg_v", value: 'a;b, c="d"&/?', want: 'a;b, c="d"&/?' },
  { name: "X-Any", text: "v=$arg_v; w", value: "a;b", want: "v=a;b; w" },
  { name: "Location", text: "/x?a=$arg_v&b=1", value: "1&b=2#f", want: "/x?a=1%26b%3D2%23f&b=1" },
  { name: "Location", text: "/x/$arg_v/y", value: "a?b", want: "/x/a%3Fb/y" },
  {
    name: "Location",
    text: "https://$host/login?next=$request_uri",
    value: "1",
    want: "https://gateway.test/login?next=/p?q?v%3D1",
  },
  { name: "X-Next", text: "/x?page=$arg_v", value: "2&admin=1", want: "/x?page=2%26admin%3D1" },
  { name: "X-Next", text: "$scheme://$host$uri", value: "", want: "http://gateway.test/p%3Fq" },
  {
    name: "Link",
    text: '</x?page=$arg_v>; rel="$arg_v"',
    value: 'a>"&b',
    want: '</x?page=a%3E%22%26b>; rel="a>\\"&b"',
  },
  { name: "Refresh", text: "5; url=/x?a=$arg_v", value: "b&c; d", want: "5; url=/x?a=b%26c%3B%20d" },
  {
    name: "Set-Cookie",
    text: "last=$arg_v; Path=/",
    value: 'a; Domain=evil, "b" \\',
    want: "last=a%3B%20Domain=evil%2C%20%22b%22%20%5C; Path=/",
  },
  { name: "Cookie", text: "$http_cookie; more=$arg_v", value: "1;x", want: "a=b; c; more=1%3Bx" },
  {
    name: "Content-Disposition",
    text: 'attachment; filename="$arg_v"',
    value: 'a"; b\\',
    want: 'attachment; filename="a\\"; b\\\\"',
  },
])("in the header $name, $text with $value is $want", ({ name, text, value, want }) => {
  const headers = new HeaderList();
  compileHeaderEdits({ set: [[name, text]] })(view(value), headers);
  expect(headers.get(name.toLowerCase())).toBe(want);
});

test.each([
  { body: "no $arg_v", value: '<"&', want: 'no <"&' },
  { body: '{"m":"$arg_v"}', value: 'a","admin":true,"b\n', want: JSON.stringify({ m: 'a","admin":true,"b\n' }) },
  { body: '{"n":$arg_v}', value: "12.5", want: '{"n":12.5}' },
  { body: '{"n":$arg_v}', value: '1,"admin":true', want: '{"n":"1,\\"admin\\":true"}' },
  { body: '["a\\"b $arg_v"]', value: '"', want: '["a\\"b \\""]' },
  {
    body: "<p title='$arg_v'>$arg_v</p>",
    value: `<script>"'&`,
    want: "<p title='&lt;script&gt;&quot;&#39;&amp;'>&lt;script&gt;&quot;&#39;&amp;</p>",
  },
])("in the body $body, $value stays what it is", ({ body, value, want }) => {
  expect(compileTemplate(body, { escapes: escapesInBody })(view(value))).toBe(want);
});

test("in a key of several variables nobody counts as somebody else", () => {
  const keyOf = (key: string, a: string, b: string): string =>
    compileLimitKey({ key, keyType: "var_combination" }, systemClock)(makeView({ headers: { "X-A": a, "X-B": b } }));
  expect(keyOf("$http_x_a $http_x_b", "a b", "c")).not.toBe(keyOf("$http_x_a $http_x_b", "a", "b c"));
  expect(keyOf("$http_x_a$http_x_b", "bob", "by")).not.toBe(keyOf("$http_x_a$http_x_b", "bo", "bby"));
  expect(keyOf("$http_x_a:$http_x_b", "1.2.3.4", "x")).toBe("1.2.3.4:x");
});
