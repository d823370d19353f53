import { expect, test } from "vitest";
import { parseHost } from "../../src/base/net/host.ts";

test.each([
  { header: "foo.com", host: "foo.com", port: undefined },
  { header: "FOO.com:8080", host: "foo.com", port: 8080 },
  { header: "foo.com.", host: "foo.com", port: undefined },
  { header: "foo.com.:80", host: "foo.com", port: 80 },
  { header: "foo.com:", host: "foo.com", port: undefined },
  { header: "my_service", host: "my_service", port: undefined },
  { header: "127.0.0.1:9080", host: "127.0.0.1", port: 9080 },
  { header: "[::1]", host: "[::1]", port: undefined },
  { header: "[2001:DB8::1]:9080", host: "[2001:db8::1]", port: 9080 },
])("the host of $header is $host", ({ header, host, port }) => {
  expect(parseHost(header)).toEqual({ host, port });
});

test.each([
  [""],
  ["."],
  [".foo.com"],
  ["foo..com"],
  ["foo.com.."],
  [":80"],
  ["foo.com:0"],
  ["foo.com:99999"],
  ["foo.com:8a"],
  ["foo.com:80:80"],
  ["a/../b@c"],
  ["user@foo.com"],
  ["foo.com, bar.com"],
  ["foo com"],
  ["foo\u0000"],
  ["caf\u00e9.fr"],
  ["::1"],
  ["[::1"],
  ["[::1]x"],
  ["[::1]80"],
  ["[zz]"],
  ["[127.0.0.1]"],
  ["[fe80::1%25eth0]"],
  ["a".repeat(256)],
])("the host %j is refused", (header) => {
  expect(parseHost(header)).toBeUndefined();
});
