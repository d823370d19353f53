import { describe, expect, test } from "vitest";
import { CodedError } from "../../src/base/errors.ts";
import { SETTING_ENTRIES, SETTING_NAMES } from "../../src/settings/setting-names.ts";
import { readSettings, type Settings } from "../../src/settings/settings.ts";

interface Given {
  readonly argv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly yaml?: string;
  readonly files?: Readonly<Record<string, string>>;
}

function read(given: Given): Settings {
  const files: Record<string, string> = { ...given.files };
  if (given.yaml !== undefined) files["gateway.yaml"] = given.yaml;
  const argv = [...(given.yaml === undefined ? [] : ["--config", "gateway.yaml"]), ...(given.argv ?? [])];
  return readSettings({
    argv,
    env: given.env ?? {},
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw new Error(`ENOENT: no such file, open '${path}'`);
      return text;
    },
  });
}

function problems(given: Given): readonly string[] {
  try {
    read(given);
  } catch (error) {
    expect(error).toBeInstanceOf(CodedError);
    expect((error as CodedError).code).toBe("SETTINGS_INVALID");
    return (error as CodedError).message.split("\n");
  }
  return [];
}

describe("defaults", () => {
  test("are those that the documentation names", () => {
    const settings = read({});
    expect(settings.etcd.hosts).toBeUndefined();
    expect(settings.prefix).toBe("/apisix");
    expect(settings.gateway.listen).toEqual({ host: "0.0.0.0", port: 9080 });
    expect(settings.admin.listen).toEqual({ host: "127.0.0.1", port: 9180 });
    expect(settings.status.listen).toEqual({ host: "127.0.0.1", port: 9091 });
    expect(settings.control.listen).toEqual({ host: "127.0.0.1", port: 9090 });
    expect(settings.dataDir).toBe("./data");
    expect(settings.compat).toBe("default");
    expect(settings.router.mode).toBe("radixtree_host_uri");
    expect(settings.realIp).toEqual({ header: "X-Real-IP", trusted: undefined, recursive: false });
    expect(settings.fastLane).toBe(true);
    expect(settings.maxStaleMs).toBeUndefined();
    expect(settings.drainTimeMs).toBe(30_000);
    expect(settings.limits.headBytes).toBe(16_384);
    expect(settings.accessLog.format).toBe("off");
    expect(settings.workers).toBe("auto");
    expect(settings.trustedAddresses).toBeUndefined();
  });

  test("are frozen all the way down", () => {
    const settings = read({});
    expect(Object.isFrozen(settings)).toBe(true);
    expect(Object.isFrozen(settings.gateway.listen)).toBe(true);
    expect(Object.isFrozen(read({ argv: ["--real-ip-trusted", "10.0.0.1"] }).realIp.trusted)).toBe(true);
  });

  test("every default is a value of its own kind", () => {
    for (const { path, facts } of SETTING_ENTRIES) {
      if (facts.defaultText === undefined || (facts.switchable && facts.defaultText === "off")) continue;
      expect(facts.kind.read(facts.defaultText), path).toBeDefined();
    }
  });
});

describe("names", () => {
  test.each([
    { argv: ["--etcd", "http://a:2379"] },
    { argv: ["--etcd=http://a:2379"] },
    { argv: ["--etcd-hosts", "http://a:2379"] },
    { env: { JOTGATE_ETCD: "http://a:2379" } },
    { env: { JOTGATE_ETCD_HOSTS: "http://a:2379" } },
    { yaml: "etcd: http://a:2379" },
    { yaml: "etcd: [http://a:2379]" },
    { yaml: "etcd:\n  hosts: http://a:2379" },
    { yaml: "etcd:\n  hosts:\n    - http://a:2379" },
  ])("the members of etcd can be given by flag, variable or file: %j", (given) => {
    expect(read(given).etcd.hosts).toEqual(["http://a:2379"]);
  });

  test("the short names of the documentation work", () => {
    const settings = read({
      env: {
        JOTGATE_ETCD: "http://a:2379,http://b:2379",
        JOTGATE_ETCD_USER: "gate",
        JOTGATE_ETCD_PASSWORD: "secret",
        JOTGATE_ETCD_CA: "ca.pem",
        JOTGATE_ETCD_CERT: "cert.pem",
        JOTGATE_ETCD_KEY: "key.pem",
        JOTGATE_PREFIX: "/gate",
        JOTGATE_GATEWAY_LISTEN: "[::]:80",
        JOTGATE_ADMIN_LISTEN: "127.0.0.1:81",
        JOTGATE_STATUS_LISTEN: "127.0.0.1:82",
        JOTGATE_ADMIN_KEY: "admin-key",
        JOTGATE_VIEWER_KEY: "viewer-key",
        JOTGATE_DATA_DIR: "/var/lib/jotgate",
        JOTGATE_COMPAT: "apisix-3.5",
        JOTGATE_KEYRING: "qeddd145sfvddff3",
      },
    });
    expect(settings.etcd).toEqual({
      hosts: ["http://a:2379", "http://b:2379"],
      user: "gate",
      password: "secret",
      ca: "ca.pem",
      cert: "cert.pem",
      key: "key.pem",
      timeoutMs: 5_000,
    });
    expect(settings.gateway.listen).toEqual({ host: "::", port: 80 });
    expect(settings.admin.key).toBe("admin-key");
    expect(settings.admin.viewerKey).toBe("viewer-key");
    expect(settings.encryption.keyring).toEqual(["qeddd145sfvddff3"]);
    expect(settings.compat).toBe("apisix-3.5");
  });

  test("every setting can be named in all three sources without ambiguity", () => {
    const flags = [...SETTING_NAMES.keys()].map((path) => path.replace(/[._]/g, "-"));
    expect(new Set(flags).size).toBe(flags.length);
  });
});

describe("precedence", () => {
  const yaml = "drain_time: 1s\nlog:\n  level: warn\nstream: off\n";
  test("a flag wins over the environment, that over the file, that over the default", () => {
    const settings = read({
      yaml,
      env: { JOTGATE_LOG_LEVEL: "debug", JOTGATE_DRAIN_TIME: "2s" },
      argv: ["--drain-time", "3s"],
    });
    expect(settings.drainTimeMs).toBe(3_000);
    expect(settings.log.level).toBe("debug");
    expect(settings.stream).toBe(false);
    expect(settings.compat).toBe("default");
  });

  test("off in a stronger source removes what a weaker one set", () => {
    expect(read({ yaml: "max_stale: 30s", argv: ["--max-stale", "off"] }).maxStaleMs).toBeUndefined();
  });

  test("a flag names another settings file than the environment", () => {
    const files = { "a.yaml": "prefix: /a", "b.yaml": "prefix: /b" };
    expect(read({ files, env: { JOTGATE_CONFIG: "a.yaml" } }).prefix).toBe("/a");
    expect(read({ files, env: { JOTGATE_CONFIG: "a.yaml" }, argv: ["--config", "b.yaml"] }).prefix).toBe("/b");
  });

  test("an empty variable counts as not given", () => {
    expect(read({ env: { JOTGATE_ETCD: "", JOTGATE_CONFIG: "" } }).etcd.hosts).toBeUndefined();
  });

  test("a member of the file without a value counts as not given", () => {
    expect(read({ yaml: "prefix:\nadmin:\n  key:\ngateway:\n" }).prefix).toBe("/apisix");
  });
});

describe("values", () => {
  test.each([
    { argv: ["--fast-lane"], want: true },
    { argv: ["--fast-lane", "off"], want: false },
    { argv: ["--fast-lane=no"], want: false },
    { argv: ["--no-fast-lane"], want: false },
    { yaml: "fast_lane: false", want: false },
    { yaml: "fast_lane: off", want: false },
    { env: { JOTGATE_FAST_LANE: "0" }, want: false },
  ])("a switch understands on and off however written: %j", ({ want, ...given }) => {
    expect(read(given).fastLane).toBe(want);
  });

  test("a list is a YAML list, text with commas, or a repeated flag", () => {
    const want = ["10.0.0.0/8", "::1"];
    expect(read({ yaml: "trusted_addresses: [10.0.0.0/8, '::1']" }).trustedAddresses).toEqual(want);
    expect(read({ env: { JOTGATE_TRUSTED_ADDRESSES: "10.0.0.0/8, ::1" } }).trustedAddresses).toEqual(want);
    expect(read({ argv: ["--trusted-addresses", "10.0.0.0/8", "--trusted-addresses=::1"] }).trustedAddresses).toEqual(
      want,
    );
  });

  test("named admin keys are YAML or JSON text", () => {
    const keys = [{ name: "ci", key: "ci-key-0123456789", role: "admin" }];
    expect(read({ yaml: "admin:\n  keys:\n    - {name: ci, key: ci-key-0123456789, role: admin}" }).admin.keys).toEqual(
      keys,
    );
    expect(read({ env: { JOTGATE_ADMIN_KEYS: JSON.stringify(keys) } }).admin.keys).toEqual(keys);
  });

  test("a secret can be read from a file, without its last line end", () => {
    const files = { "/run/secrets/admin": "from-a-file\n" };
    expect(read({ files, env: { JOTGATE_ADMIN_KEY_FILE: "/run/secrets/admin" } }).admin.key).toBe("from-a-file");
    expect(read({ files, argv: ["--admin-key-file", "/run/secrets/admin"] }).admin.key).toBe("from-a-file");
  });

  test.each([
    {
      argv: ["--gateway-listen", "9080"],
      want: '--gateway-listen: expected an address such as 0.0.0.0:9080 or [::1]:9080, or off, got "9080"',
    },
    { argv: ["--gateway-listen", "1.2.3:80"], want: "--gateway-listen: expected an address" },
    { argv: ["--gateway-listen", "127.0.0.1:65536"], want: "--gateway-listen: expected an address" },
    { argv: ["--admin-listen", "off"], want: "--admin-listen: expected an address" },
    {
      argv: ["--status-listen", "no"],
      want: "--status-listen: expected an address such as 0.0.0.0:9080 or [::1]:9080, or off",
    },
    { argv: ["--drain-time", "30"], want: "--drain-time: expected a duration such as 500ms, 30s, 2m, 1h or 1d" },
    { argv: ["--drain-time", "25d"], want: "--drain-time: expected a duration" },
    { argv: ["--limits-head-bytes", "16kb"], want: "--limits-head-bytes: expected a size such as 16384, 16KiB" },
    { argv: ["--limits-header-lines", "0"], want: "--limits-header-lines: expected an integer from 1 to 1000" },
    { argv: ["--workers", "many"], want: "--workers: expected an integer from 1 to 256, or auto" },
    { env: { JOTGATE_COMPAT: "3.5" }, want: 'JOTGATE_COMPAT: expected one of default, apisix-3.5, strict, got "3.5"' },
    { argv: ["--etcd", "a:2379"], want: "--etcd: expected a list, each an address such as http://10.0.0.1:2379" },
    { argv: ["--prefix", "/apisix/"], want: "--prefix: expected a prefix such as /apisix, without a slash at the end" },
    {
      argv: ["--trusted-addresses", "10.0.0.0/33"],
      want: "--trusted-addresses: expected a list, each an IP address or range",
    },
    { argv: ["--dns-resolvers", "localhost"], want: "--dns-resolvers: expected a list, each an IP address" },
    { argv: ["--fast-lane=maybe"], want: '--fast-lane: expected on or off, got "maybe"' },
    {
      yaml: "prefix: /a\nlimits:\n  body_bytes: lots\n",
      want: 'gateway.yaml line 3: limits.body_bytes: expected a size such as 16384, 16KiB, 1MiB or 2GiB, or off, got "lots"',
    },
    {
      yaml: "drain_time: 30\n",
      want: "gateway.yaml line 1: drain_time: expected a duration such as 500ms, 30s, 2m, 1h or 1d (at most 24d), got 30",
    },
    { argv: ["--prefix"], want: "--prefix needs a value" },
    { argv: ["--config"], want: "--config needs a value" },
    { argv: ["--prefix", "/a", "--prefix", "/b"], want: "--prefix: prefix is given twice" },
    {
      argv: ["--etcd", "http://a:1", "--etcd-hosts", "http://b:1"],
      want: "--etcd-hosts: etcd.hosts is given twice, also as --etcd",
    },
    { argv: ["--config", "none.yaml"], want: "the settings file none.yaml cannot be read" },
  ])("says: $want", ({ want, ...given }) => {
    expect(problems(given)[0]).toContain(want);
  });
});

describe("variables that Kubernetes makes for Services", () => {
  const links = (service: string, ip: string): Record<string, string> => {
    const shown = ip.includes(":") ? `[${ip}]` : ip;
    return {
      [`${service}_SERVICE_HOST`]: ip,
      [`${service}_SERVICE_PORT`]: "9080",
      [`${service}_SERVICE_PORT_HTTP_ALT`]: "9080",
      [`${service}_PORT`]: `tcp://${shown}:9080`,
      [`${service}_PORT_9080_TCP`]: `tcp://${shown}:9080`,
      [`${service}_PORT_9080_TCP_PROTO`]: "tcp",
      [`${service}_PORT_9080_TCP_PORT`]: "9080",
      [`${service}_PORT_9080_TCP_ADDR`]: ip,
      [`${service}_PORT_53_UDP`]: `udp://${shown}:53`,
    };
  };
  test.each(["JOTGATE", "JOTGATE_ADMIN", "JOTGATE_GATEWAY_2", "JOTGATE_ETCD"])("%s are no settings", (service) => {
    expect(read({ env: links(service, "10.96.0.17") })).toEqual(read({}));
    expect(read({ env: links(service, "fd00:10:96::17") })).toEqual(read({}));
  });

  test.each([
    { JOTGATE_SERVICE_HOST: "example.com" },
    { JOTGATE_SERVICE_HOSTS: "10.96.0.17" },
    { JOTGATE_ADMIN_PORT: "9180" },
    { JOTGATE_PORT: "9080" },
    { JOTGATE_PORT_9080_TCP: "10.96.0.17:9080" },
    { JOTGATE_PORT_9080_HTTP: "tcp://10.96.0.17:9080" },
    { JOTGATE_SERVICE_PORT: "auto" },
    { JOTGATEWAY_SERVICE: "x", JOTGATE_X: "1" },
  ])("of another form they are mistakes: %j", (env) => {
    expect(problems({ env })[0]).toContain("unknown environment variable");
  });
});

describe("mistyped names", () => {
  test.each([
    { argv: ["--ectd", "http://a:2379"], want: "unknown flag --ectd; did you mean --etcd?" },
    { argv: ["--data_dir", "x"], want: "unknown flag --data_dir; did you mean --data-dir?" },
    { argv: ["--no-prefix"], want: "unknown flag --no-prefix" },
    { argv: ["--completely-different-thing"], want: "unknown flag --completely-different-thing" },
    { argv: ["start"], want: "argument 1 is not a flag" },
    {
      env: { JOTGATE_ADMIN_KYE: "x" },
      want: "unknown environment variable JOTGATE_ADMIN_KYE; did you mean JOTGATE_ADMIN_KEY?",
    },
    {
      yaml: "gateway:\n  lisen: 0.0.0.0:80\n",
      want: "gateway.yaml line 2: unknown setting gateway.lisen; did you mean gateway.listen?",
    },
    { yaml: "\n\nadmim:\n  key: x\n", want: "gateway.yaml line 3: unknown setting admim; did you mean admin?" },
    { yaml: "gateway: 9080\n", want: "gateway.yaml line 1: gateway must be a mapping of settings" },
    { yaml: "- a\n", want: "gateway.yaml line 1: the file must be a mapping of settings" },
    { yaml: "prefix: /a\nprefix: /b\n", want: "gateway.yaml line 2: not valid YAML (duplicate key)" },
    { yaml: "a: [1\n", want: "not valid YAML" },
  ])("says: $want", ({ want, ...given }) => {
    expect(problems(given)[0]).toContain(want);
  });

  test("all mistakes are reported at once", () => {
    expect(problems({ argv: ["--ectd", "x", "--workers", "0"], env: { JOTGATE_X: "1" }, yaml: "a: 1" })).toHaveLength(
      4,
    );
  });
});

describe("secrets", () => {
  const secret = "s3cr3t with spaces";
  test.each([
    { says: "a wrong key in a flag", given: { argv: ["--admin-key", secret] } },
    { says: "the value of a mistyped flag", given: { argv: ["--admin-kye", secret] } },
    { says: "the value of a mistyped flag after an equals sign", given: { argv: [`--admin-kye=${secret}`] } },
    { says: "a stray argument", given: { argv: [secret] } },
    { says: "a wrong key in a variable", given: { env: { JOTGATE_ADMIN_KEY: secret } } },
    { says: "the value of a mistyped variable", given: { env: { JOTGATE_ADMIN_KYE: secret } } },
    { says: "a wrong key in a file", given: { yaml: `admin:\n  key: ${secret}` } },
    { says: "a key that YAML takes for an alias", given: { yaml: "admin:\n  key: *s3cr3t" } },
    { says: "a key in broken YAML", given: { yaml: `admin: {key: "${secret}` } },
    { says: "named keys of the wrong shape", given: { env: { JOTGATE_ADMIN_KEYS: `[{"key":"${secret}"}]` } } },
    { says: "a key given as the path of its file", given: { argv: ["--admin-key-file", secret] } },
    { says: "a password inside an etcd address", given: { argv: ["--etcd", "http://root:s3cr3t@a:2379"] } },
  ])("$says does not appear in a message", ({ given }) => {
    const found = problems(given);
    expect(found.length).toBeGreaterThan(0);
    expect(found.join("\n")).not.toContain("s3cr3t");
  });
});
