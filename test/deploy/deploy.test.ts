/**
 * The files in deploy/ and docker-compose.yml fit each other and the program, as far as that can be seen without Docker.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { readSettings } from "../../src/settings/settings.ts";
import { checkRole, type Role } from "../../src/settings/settings-check.ts";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

interface Service {
  readonly image?: string;
  readonly build?: { readonly dockerfile: string; readonly target: string };
  readonly command?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly depends_on?: readonly string[] | Readonly<Record<string, unknown>>;
  readonly volumes?: readonly string[];
  readonly ports?: readonly string[];
  readonly networks?: readonly string[] | Readonly<Record<string, { readonly aliases?: readonly string[] }>>;
  readonly secrets?: readonly string[];
  readonly user?: string;
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly cap_add?: readonly string[];
  readonly privileged?: boolean;
  readonly security_opt?: readonly string[];
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly networks: Readonly<
    Record<string, { readonly internal?: boolean; readonly ipam?: { config: readonly { subnet: string }[] } }>
  >;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
}

const compose = parse(read("docker-compose.yml"), { merge: true }) as Compose;
const dockerfile = read("deploy/Dockerfile");
const services = Object.entries(compose.services);
const ROLES: Readonly<Record<string, Role>> = { start: "all", admin: "admin", gateway: "gateway" };
const nodes = services.filter(([, service]) => service.image === "jotgate" && !service.entrypoint);

/** Which secrets a service is shown. */
const SECRETS: Readonly<Record<string, readonly string[]>> = {
  admin: ["admin-key", "viewer-key", "etcd-admin"],
  gateway1: ["etcd-gateway"],
  gateway2: ["etcd-gateway"],
  "etcd-users": ["etcd-root", "etcd-admin", "etcd-gateway"],
};

/** Names of the networks a service is on. */
const networksOf = ({ networks = [] }: Service): readonly string[] =>
  Array.isArray(networks) ? networks : Object.keys(networks);

/** What the Dockerfile sets for every container. */
function imageEnvironment(): Record<string, string> {
  const env = /^ENV (JOTGATE_(?:.*\\\n)*.*)$/m.exec(dockerfile)?.[1] ?? "";
  return Object.fromEntries([...env.matchAll(/(JOTGATE_\w+)=(\S+)/g)].map((found) => [found[1] ?? "", found[2] ?? ""]));
}

describe("docker-compose.yml", () => {
  test("has the cluster: etcd with three members, an admin node, gateways, a balancer and what surrounds them", () => {
    const names = [
      "etcd1",
      "etcd2",
      "etcd3",
      "admin",
      "gateway1",
      "gateway2",
      "balancer",
      "prometheus",
      "vault",
      "echo",
    ];
    expect(Object.keys(compose.services)).toEqual(expect.arrayContaining(names));
  });

  test.each(nodes)("service %s starts with settings that the program accepts", (_name, service) => {
    const role = ROLES[service.command?.[0] ?? ""];
    expect(role).toBeDefined();
    const settings = readSettings({
      argv: service.command?.slice(1) ?? [],
      env: { ...imageEnvironment(), ...service.environment },
      readFile: (path) => `key-of-${path}`,
    });
    expect(checkRole(role as Role, settings)).toEqual([]);
    expect(settings.etcd.hosts?.map((host) => new URL(host).hostname)).toEqual(["etcd1", "etcd2", "etcd3"]);
    expect(settings.status.listen).toEqual({ host: "0.0.0.0", port: 9091 });
    expect(settings.control.listen?.host).toBe("127.0.0.1");
    const subnet = compose.networks["inside"]?.ipam?.config[0]?.subnet;
    expect(settings.trustedAddresses).toEqual([subnet]);
  });

  test("has no key in it: each service reads its own from files, and gateways get none of the Admin API", () => {
    for (const [name, service] of services) {
      const { environment = {}, secrets = [] } = service;
      expect(
        Object.keys(environment).filter((key) => /^JOTGATE_.*(?:KEY|TOKEN|PASSWORD|SECRET)$/.test(key)),
        name,
      ).toEqual([]);
      const files = Object.entries(environment).filter(([key]) => /^JOTGATE_.*_FILE$/.test(key));
      if (name === "etcd-users") expect(service.entrypoint?.slice(1)).toEqual(["/etcd/users.sh", "/run/secrets"]);
      else
        expect(files.map(([, path]) => path).sort(), name).toEqual(secrets.map((one) => `/run/secrets/${one}`).sort());
      expect(secrets, name).toEqual(SECRETS[name] ?? []);
      for (const secret of secrets) expect(compose.secrets[secret]?.file).toMatch(/^\$\{\w+:-\.\/secrets\//);
    }
    expect(read(".gitignore")).toContain("/secrets/");
    expect(read(".dockerignore")).toContain("secrets");
  });

  test("only nodes, and Prometheus for its numbers, reach etcd, on a network that goes nowhere else", () => {
    expect(compose.networks["store"]?.internal).toBe(true);
    for (const [name, service] of services) {
      const networks = networksOf(service);
      if (/^etcd/.test(name)) expect(networks, name).toEqual(["store"]);
      else expect(networks.includes("store"), name).toBe(/^(?:admin|gateway\d|prometheus)$/.test(name));
    }
  });

  test.each(services)("service %s cannot write to its own files or gain rights", (_name, service) => {
    expect(service.read_only).toBe(true);
    expect(service.cap_drop).toEqual(["ALL"]);
    expect(service.cap_add ?? []).toEqual([]);
    expect(service.privileged ?? false).toBe(false);
    expect(service.security_opt).toEqual(["no-new-privileges:true"]);
  });

  test.each(services)("what service %s refers to exists", (_name, service) => {
    const needs = Array.isArray(service.depends_on) ? service.depends_on : Object.keys(service.depends_on ?? {});
    for (const other of needs) expect(compose.services).toHaveProperty(other);
    for (const volume of service.volumes ?? []) {
      const [source = ""] = volume.split(":");
      if (source.startsWith("./")) expect(existsSync(join(ROOT, source)), source).toBe(true);
      else expect(compose.volumes).toHaveProperty(source);
    }
    for (const network of networksOf(service)) expect(compose.networks).toHaveProperty(network);
    if (!service.build) return;
    expect(existsSync(join(ROOT, service.build.dockerfile))).toBe(true);
    expect(dockerfile).toMatch(new RegExp(`^FROM .* AS ${service.build.target}$`, "m"));
  });

  test("admin API, numbers, metrics and Vault are published on loopback only", () => {
    const open = services.flatMap(([, { ports = [] }]) => ports).filter((port) => !port.startsWith("127.0.0.1:"));
    expect(open).toEqual(["9080:9080"]);
  });

  test("etcd speaks TLS to members and nodes, and nodes know its authority", () => {
    for (const name of ["etcd1", "etcd2", "etcd3"]) {
      const environment = compose.services[name]?.environment ?? {};
      expect(environment["ETCD_PEER_CLIENT_CERT_AUTH"]).toBe("true");
      for (const [key, value] of Object.entries(environment)) {
        if (/_URLS$|_CLUSTER$/.test(key) && !/METRICS/.test(key)) expect(value, key).not.toContain("http://");
      }
    }
    for (const [name, { environment = {}, volumes = [] }] of nodes) {
      expect(environment["JOTGATE_ETCD"], name).not.toContain("http://");
      expect(environment["JOTGATE_ETCD_CA"], name).toBe("/certificates/ca.crt");
      expect(volumes, name).toContain("certificates:/certificates:ro");
    }
  });

  test("the members of etcd name each other", () => {
    for (const name of ["etcd1", "etcd2", "etcd3"]) {
      const environment = compose.services[name]?.environment ?? {};
      expect(environment["ETCD_NAME"]).toBe(name);
      expect(environment["ETCD_INITIAL_CLUSTER"]?.split(",")).toContain(
        `${name}=${environment["ETCD_INITIAL_ADVERTISE_PEER_URLS"]}`,
      );
      expect(environment["ETCD_AUTO_COMPACTION_RETENTION"]).toBe("1h");
    }
  });
});

describe("deploy/Dockerfile", () => {
  test("runs as an ordinary user, built apart, with a health check that needs no curl", () => {
    expect(dockerfile.match(/^FROM /gm)?.length).toBeGreaterThanOrEqual(3);
    const runtime = dockerfile.slice(dockerfile.indexOf(" AS runtime"), dockerfile.indexOf(" AS etcd"));
    expect(runtime).toMatch(/^USER node$/m);
    expect(runtime).toMatch(/^HEALTHCHECK .*\\\n +CMD \["node"/m);
    expect(dockerfile).not.toMatch(/\b(curl|wget)\b(?! in)/);
  });

  test("copies only what exists", () => {
    for (const [, sources = ""] of dockerfile.matchAll(/^COPY (?!--from)(.+) \S+$/gm)) {
      for (const source of sources.split(" ")) expect(existsSync(join(ROOT, source)), source).toBe(true);
    }
  });
});

describe("deploy/prometheus.yml", () => {
  test("scrapes every node, the balancer and etcd by the names they have", () => {
    const config = parse(read("deploy/prometheus.yml")) as {
      scrape_configs: readonly { static_configs: readonly { targets: readonly string[] }[] }[];
    };
    const targets = config.scrape_configs.flatMap((job) => job.static_configs.flatMap((group) => group.targets));
    const hosts = targets.map((target) => target.split(":")[0] ?? "");
    for (const host of hosts) expect(compose.services).toHaveProperty(host);
    expect(hosts).toEqual(
      expect.arrayContaining([...nodes.map(([name]) => name), "balancer", "etcd1", "etcd2", "etcd3"]),
    );
  });
});

describe("deploy/haproxy.cfg", () => {
  const haproxy = ["haproxy", "/usr/sbin/haproxy"].find((path) => !spawnSync(path, ["-v"]).error);

  test.skipIf(!haproxy)("is what HAProxy accepts", () => {
    const checked = spawnSync(haproxy ?? "", ["-c", "-f", join(ROOT, "deploy/haproxy.cfg")], { encoding: "utf8" });
    expect(checked.status, checked.stderr).toBe(0);
  });

  test("sends traffic only to gateways that say they are ready", () => {
    const config = read("deploy/haproxy.cfg");
    expect(config).toMatch(/option httpchk GET \/ready/);
    for (const [name, service] of nodes) {
      const { inside } = (service.networks ?? {}) as Readonly<Record<string, { readonly aliases?: readonly string[] }>>;
      if (service.command?.[0] === "gateway") expect(inside?.aliases, name).toEqual(["gateway"]);
    }
    expect(config).toContain("GATEWAYS-gateway:9080");
  });
});
