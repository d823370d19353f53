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
  readonly networks?: readonly string[];
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly volumes: Readonly<Record<string, unknown>>;
  readonly networks: Readonly<Record<string, { ipam: { config: readonly { subnet: string }[] } }>>;
}

const compose = parse(read("docker-compose.yml"), { merge: true }) as Compose;
const dockerfile = read("deploy/Dockerfile");
const services = Object.entries(compose.services);
const ROLES: Readonly<Record<string, Role>> = { start: "all", admin: "admin", gateway: "gateway" };
const nodes = services.filter(([, service]) => service.image === "jotgate" && !service.entrypoint);

/** What the Dockerfile sets for every container. */
function imageEnvironment(): Record<string, string> {
  const env = /^ENV (JOTGATE_(?:.*\\\n)*.*)$/m.exec(dockerfile)?.[1] ?? "";
  return Object.fromEntries([...env.matchAll(/(JOTGATE_\w+)=(\S+)/g)].map((found) => [found[1] ?? "", found[2] ?? ""]));
}

/** Compose's `${NAME:?text}` as a user's environment fills it. */
function fill(environment: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [name, value.replace(/\$\{(\w+):\?[^}]*\}/g, "value-of-$1")]),
  );
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
      env: { ...imageEnvironment(), ...fill(service.environment ?? {}) },
      readFile: () => "",
    });
    expect(checkRole(role as Role, settings)).toEqual([]);
    expect(settings.etcd.hosts?.map((host) => new URL(host).hostname)).toEqual(["etcd1", "etcd2", "etcd3"]);
    expect(settings.status.listen).toEqual({ host: "0.0.0.0", port: 9091 });
    expect(settings.control.listen?.host).toBe("127.0.0.1");
    const subnet = compose.networks["inside"]?.ipam.config[0]?.subnet;
    expect(settings.trustedAddresses).toEqual([subnet]);
  });

  test("has no key in it: the operator must set the keys", () => {
    for (const [, service] of nodes) {
      for (const name of ["JOTGATE_ADMIN_KEY", "JOTGATE_VIEWER_KEY"]) {
        expect(service.environment?.[name]).toMatch(/^\$\{JOTGATE_\w+:\?/);
      }
    }
  });

  test.each(services)("what service %s refers to exists", (_name, service) => {
    const needs = Array.isArray(service.depends_on) ? service.depends_on : Object.keys(service.depends_on ?? {});
    for (const other of needs) expect(compose.services).toHaveProperty(other);
    for (const volume of service.volumes ?? []) {
      const [source = ""] = volume.split(":");
      if (source.startsWith("./")) expect(existsSync(join(ROOT, source)), source).toBe(true);
      else expect(compose.volumes).toHaveProperty(source);
    }
    for (const network of service.networks ?? []) expect(compose.networks).toHaveProperty(network);
    if (!service.build) return;
    expect(existsSync(join(ROOT, service.build.dockerfile))).toBe(true);
    expect(dockerfile).toMatch(new RegExp(`^FROM .* AS ${service.build.target}$`, "m"));
  });

  test("admin API, numbers, metrics and Vault are published on loopback only", () => {
    const open = services.flatMap(([, { ports = [] }]) => ports).filter((port) => !port.startsWith("127.0.0.1:"));
    expect(open).toEqual(["9080:9080"]);
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
    const gateways = nodes.filter(([, service]) => service.command?.[0] === "gateway").map(([name]) => name);
    for (const name of gateways) expect(config).toContain(`${name}:9080`);
  });
});
