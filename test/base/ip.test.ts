import { expect, test } from "vitest";
import { compileIpSet, ipListError } from "../../src/base/net/ip.ts";

test.each([
  { list: ["10.0.0.0/8"], address: "10.255.1.2", want: true },
  { list: ["10.0.0.0/8"], address: "11.0.0.1", want: false },
  { list: ["127.0.0.1"], address: "127.0.0.1", want: true },
  { list: ["127.0.0.1"], address: "127.0.0.2", want: false },
  { list: ["127.0.0.0/24"], address: "127.0.0.200", want: true },
  { list: ["0.0.0.0/0"], address: "255.255.255.255", want: true },
  { list: ["0.0.0.0/0"], address: "::1", want: false },
  { list: ["192.168.1.128/25"], address: "192.168.1.127", want: false },
  { list: ["::1"], address: "0:0:0:0:0:0:0:1", want: true },
  { list: ["fe80::/10"], address: "fe80::1%eth0", want: true },
  { list: ["2001:db8::/33"], address: "2001:db8:7fff::1", want: true },
  { list: ["2001:db8::/33"], address: "2001:db8:8000::1", want: false },
  { list: ["10.0.0.0/8"], address: "::ffff:10.1.1.1", want: true },
  { list: ["::ffff:10.0.0.0/104"], address: "10.1.1.1", want: true },
  { list: ["::/0"], address: "2001:db8::1", want: true },
  { list: [], address: "10.0.0.1", want: false },
  { list: ["10.0.0.1"], address: "not an address", want: false },
  { list: ["10.0.0.1"], address: "", want: false },
  { list: ["10.0.0.1"], address: "010.0.0.1", want: false },
])("$address in $list: $want", ({ list, address, want }) => {
  expect(compileIpSet(list)(address)).toBe(want);
});

test.each([
  { list: ["10.0.0.1", "x"], want: "invalid ip address: x" },
  { list: ["10.0.0.1/33"], want: "invalid ip address: 10.0.0.1/33" },
  { list: ["10.0.0.1/"], want: "invalid ip address: 10.0.0.1/" },
  { list: ["::1/129"], want: "invalid ip address: ::1/129" },
  { list: [1], want: "invalid ip address: 1" },
  { list: ["10.0.0.1", "10.0.0.0/8", "::1", "fe80::/10"], want: undefined },
])("the first bad entry of $list is named", ({ list, want }) => {
  expect(ipListError(list)).toBe(want);
});
