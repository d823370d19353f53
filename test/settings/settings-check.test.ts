import { describe, expect, test } from "vitest";
import { messageOf } from "../../src/base/errors.ts";
import { readSettings, type Settings } from "../../src/settings/settings.ts";
import { checkRole, type Role } from "../../src/settings/settings-check.ts";

const read = (...argv: string[]): Settings => readSettings({ argv, env: {}, readFile: () => "" });

function problem(...argv: string[]): string {
  try {
    read(...argv);
  } catch (error) {
    return messageOf(error);
  }
  return "";
}

describe("settings that contradict each other", () => {
  const etcd = ["--etcd", "http://a:2379"];
  test.each([
    { argv: [...etcd, "--etcd-user", "u"], want: "etcd.user needs etcd.password as well" },
    { argv: [...etcd, "--etcd-password", "p"], want: "etcd.password needs etcd.user as well" },
    { argv: [...etcd, "--etcd-cert", "c.pem"], want: "etcd.cert needs etcd.key as well" },
    { argv: ["--etcd-ca", "c.pem"], want: "etcd.ca has no effect without etcd.hosts (--etcd)" },
    { argv: ["--etcd", "http://a:2379,https://b:2379"], want: "etcd.hosts: all members must be http or all https" },
    { argv: ["--admin-tls-cert", "c.pem"], want: "admin.tls.cert needs admin.tls.key as well" },
    { argv: ["--admin-tls-client-ca", "c.pem"], want: "admin.tls.client_ca needs admin.tls.cert" },
    { argv: ["--admin-key", "k", "--viewer-key", "k"], want: "no key may be given twice" },
    { argv: ["--admin-keys", '[{"name":"admin","key":"k","role":"viewer"}]'], want: "names must differ" },
    { argv: ["--keyring", "0123456789abcdefg", "--encryption-format", "aes-cbc"], want: "16 or 32 characters" },
  ])("$want", ({ argv, want }) => {
    expect(problem(...argv)).toContain(want);
  });
});

describe("what a role needs", () => {
  const famous = "edd1c9f034335f136f87ad84b625c8f1";
  const etcd = ["--etcd", "http://a:2379"];
  test.each<{ role: Role; argv: string[]; want: string | undefined; says: string }>([
    { says: "everything in one process needs nothing", role: "all", argv: [], want: undefined },
    { says: "an admin node needs etcd", role: "admin", argv: [], want: "jotgate admin needs --etcd" },
    { says: "a gateway node needs etcd", role: "gateway", argv: [], want: "jotgate gateway needs --etcd" },
    { says: "a gateway node needs no admin key", role: "gateway", argv: etcd, want: undefined },
    { says: "an admin node on etcd needs an admin key", role: "admin", argv: etcd, want: "admin.key" },
    { says: "everything on etcd needs an admin key", role: "all", argv: etcd, want: "admin.key" },
    {
      says: "a named admin key is enough",
      role: "admin",
      argv: [...etcd, "--admin-keys", '[{"name":"ci","key":"k","role":"admin"}]'],
      want: undefined,
    },
    {
      says: "a named viewer key is not enough",
      role: "admin",
      argv: [...etcd, "--admin-keys", '[{"name":"ci","key":"k","role":"viewer"}]'],
      want: "admin.key",
    },
    { says: "the famous key is fine on loopback", role: "all", argv: ["--admin-key", famous], want: undefined },
    {
      says: "the famous key is refused off loopback",
      role: "all",
      argv: ["--admin-key", famous, "--admin-listen", "0.0.0.0:9180"],
      want: "everybody knows it",
    },
    {
      says: "the famous key is refused as a named key",
      role: "admin",
      argv: [
        ...etcd,
        "--admin-listen",
        "[::]:9180",
        "--admin-keys",
        `[{"name":"ci","key":"${famous}","role":"admin"}]`,
      ],
      want: "everybody knows it",
    },
    {
      says: "a gateway without any listener is refused",
      role: "gateway",
      argv: [...etcd, "--gateway-listen", "off"],
      want: "gateway.listen is off and so is gateway.tls.listen",
    },
    {
      says: "one with TLS alone is fine",
      role: "gateway",
      argv: [...etcd, "--gateway-listen", "off", "--gateway-tls-listen", "0.0.0.0:9443"],
      want: undefined,
    },
    {
      says: "a short key is fine on loopback",
      role: "all",
      argv: ["--admin-key", "short"],
      want: undefined,
    },
    {
      says: "a short key is refused off loopback",
      role: "all",
      argv: ["--admin-key", "0123456789abcde", "--admin-listen", "10.0.0.1:9180"],
      want: "admin.key has fewer than 16 characters",
    },
    {
      says: "a short viewer's key too",
      role: "all",
      argv: ["--viewer-key", "0123456789abcde", "--admin-listen", "0.0.0.0:9180"],
      want: "admin.viewer_key has fewer than 16 characters",
    },
    {
      says: "and a short named one",
      role: "all",
      argv: ["--admin-keys", '[{"name":"ci","key":"short","role":"viewer"}]', "--admin-listen", "[::]:9180"],
      want: "admin.keys: ci has fewer than 16 characters",
    },
    {
      says: "16 characters do",
      role: "all",
      argv: ["--admin-key", "0123456789abcdef", "--admin-listen", "0.0.0.0:9180"],
      want: undefined,
    },
    {
      says: "two listeners on one port are refused",
      role: "all",
      argv: ["--status-listen", "127.0.0.1:9080"],
      want: "gateway.listen and status.listen are both 0.0.0.0:9080",
    },
    {
      says: "a listener of another role does not count",
      role: "gateway",
      argv: [...etcd, "--gateway-listen", "127.0.0.1:9180"],
      want: undefined,
    },
    {
      says: "free ports never collide",
      role: "all",
      argv: ["--gateway-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"],
      want: undefined,
    },
  ])("$says", ({ role, argv, want }) => {
    const problems = checkRole(role, read(...argv));
    if (want === undefined) expect(problems).toEqual([]);
    else expect(problems.join("\n")).toContain(want);
    expect(problems.join("\n")).not.toContain(famous);
  });
});
