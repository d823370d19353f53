import { describe, expect, test } from "vitest";
import { makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { realIp } from "../../src/plugins/real-ip.ts";

const env = makeEnv();
const XFF = { source: "http_x_forwarded_for" };
const OURS = ["203.0.113.0/24", "10.0.0.0/8"];
const PEER = ["203.0.113.7", 40_000];

describe("real-ip", () => {
  test.each<{
    says: string;
    conf: object;
    target?: string;
    headers?: Record<string, string | string[]>;
    want: unknown[];
  }>([
    { says: "an argument", conf: { source: "arg_ip" }, target: "/?ip=1.2.3.4", want: ["1.2.3.4", 40_000] },
    { says: "an address with a port", conf: { source: "arg_ip" }, target: "/?ip=1.2.3.4:80", want: ["1.2.3.4", 80] },
    { says: "IPv6 with a port", conf: { source: "arg_ip" }, target: "/?ip=[::1]:80", want: ["::1", 80] },
    { says: "bare IPv6", conf: { source: "arg_ip" }, target: "/?ip=2001:db8::2", want: ["2001:db8::2", 40_000] },
    { says: "mapped IPv4", conf: { source: "arg_ip" }, target: "/?ip=::ffff:1.2.3.4", want: ["1.2.3.4", 40_000] },
    {
      says: "a header",
      conf: { source: "http_x_real_ip" },
      headers: { "X-Real-IP": "1.1.1.1" },
      want: ["1.1.1.1", 40_000],
    },
    { says: "no address", conf: { source: "arg_ip" }, target: "/?ip=localhost", want: PEER },
    { says: "a bad port", conf: { source: "arg_ip" }, target: "/?ip=1.2.3.4:70000", want: PEER },
    { says: "nothing", conf: { source: "arg_ip" }, want: PEER },
    { says: "the last hop", conf: XFF, headers: { "X-Forwarded-For": "1.1.1.1, 2.2.2.2" }, want: ["2.2.2.2", 40_000] },
    {
      says: "the last line",
      conf: XFF,
      headers: { "X-Forwarded-For": ["1.1.1.1", "2.2.2.2"] },
      want: ["2.2.2.2", 40_000],
    },
    {
      says: "the last hop that is not ours",
      conf: { ...XFF, recursive: true, trusted_addresses: OURS },
      headers: { "X-Forwarded-For": "6.6.6.6, 1.1.1.1, 10.0.0.1" },
      want: ["1.1.1.1", 40_000],
    },
    {
      says: "the first hop when all are ours",
      conf: { ...XFF, recursive: true, trusted_addresses: OURS },
      headers: { "X-Forwarded-For": "10.0.0.2, 10.0.0.1" },
      want: ["10.0.0.2", 40_000],
    },
    {
      says: "the last hop before one that is no address",
      conf: { ...XFF, recursive: true, trusted_addresses: OURS },
      headers: { "X-Forwarded-For": "6.6.6.6, unknown, 10.0.0.1" },
      want: ["10.0.0.1", 40_000],
    },
    {
      says: "the last line of a header with one value",
      conf: { source: "http_x_real_ip" },
      headers: { "X-Real-IP": ["6.6.6.6", "1.1.1.1"] },
      want: ["1.1.1.1", 40_000],
    },
    {
      says: "no earlier line, although the last one is ours",
      conf: { source: "http_x_real_ip", recursive: true, trusted_addresses: OURS },
      headers: { "X-Real-IP": ["6.6.6.6", "10.0.0.1"] },
      want: ["10.0.0.1", 40_000],
    },
    {
      says: "the last of a list in any header",
      conf: { source: "http_x_client" },
      headers: { "X-Client": "6.6.6.6, 1.1.1.1" },
      want: ["1.1.1.1", 40_000],
    },
    {
      says: "a peer that is not trusted",
      conf: { source: "arg_ip", trusted_addresses: ["10.0.0.0/8"] },
      target: "/?ip=1.2.3.4",
      want: PEER,
    },
  ])("$says gives $want", async ({ conf, target = "/", headers = {}, want }) => {
    const view = makeView({ target, headers });
    await runPhases(env.compile(realIp, conf), view);
    expect([view.clientAddress, view.clientPort]).toEqual(want);
    expect(view.connection.peerAddress).toBe("203.0.113.7");
  });

  test("a trusted address that is none is refused", () => {
    expect(() => env.compile(realIp, { source: "arg_ip", trusted_addresses: ["x"] })).toThrow("validation failed");
    expect(() => env.compile(realIp, {})).toThrow('property "source" is required');
  });
});
