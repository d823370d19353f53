/**
 * deploy/etcd: etcd's TLS and users as docker-compose.yml has them, made by the scripts that it runs, used by an admin and a gateway.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctlAvailable } from "../support/etcdctl.ts";
import { ADMIN_KEY, type Node, ROOT, startNode, temporaryFolder } from "../support/process.ts";

const SCRIPTS = join(ROOT, "deploy/etcd");
const PASSWORDS = { root: "root-password-1", admin: "admin-password-1", gateway: "gateway-password-1" };
const possible = etcdAvailable() && etcdctlAvailable() && spawnSync("openssl", ["version"]).status === 0;

describe.skipIf(!possible)("etcd with TLS and users", () => {
  const folder = possible ? temporaryFolder("etcd-secured") : "";
  const file = (name: string): string => join(folder, name);
  const certificates = (...names: string[]): string =>
    execFileSync("sh", [join(SCRIPTS, "certificates.sh"), folder, ...names], { encoding: "utf8", stdio: "pipe" });
  let etcd: EtcdCluster;
  let admin: Node;
  let gateway: Node;

  /** etcdctl with the member's own certificate, as one user or as nobody. */
  const environment = (): NodeJS.ProcessEnv => ({
    PATH: process.env["PATH"],
    ETCDCTL_API: "3",
    ETCDCTL_ENDPOINTS: etcd.endpoints.join(","),
    ETCDCTL_CACERT: file("ca.crt"),
    ETCDCTL_CERT: file("etcd.crt"),
    ETCDCTL_KEY: file("etcd.key"),
    ETCDCTL_DIAL_TIMEOUT: "30s",
    ETCDCTL_COMMAND_TIMEOUT: "60s",
  });
  const users = (): string =>
    execFileSync("sh", [join(SCRIPTS, "users.sh"), folder], { encoding: "utf8", env: environment(), stdio: "pipe" });
  const as = (user: keyof typeof PASSWORDS, ...args: string[]) =>
    spawnSync("etcdctl", ["--user", `${user}:${PASSWORDS[user]}`, ...args], { encoding: "utf8", env: environment() });

  beforeAll(async () => {
    certificates("etcd1", "10.1.2.3");
    for (const [user, password] of Object.entries(PASSWORDS)) writeFileSync(file(`etcd-${user}`), password);
    etcd = await startEtcd({ tls: { ca: file("ca.crt"), cert: file("etcd.crt"), key: file("etcd.key") } });
  });
  afterAll(async () => {
    await Promise.all([admin?.stop(), gateway?.stop()]);
    await etcd?.stop();
  });

  test("certificates name the members, are kept while they are good, and the authority's key is gone", () => {
    const before = readFileSync(file("etcd.crt"), "utf8");
    expect(certificates("etcd1")).toContain("are good");
    expect(readFileSync(file("etcd.crt"), "utf8")).toBe(before);
    const names = execFileSync("openssl", ["x509", "-in", file("etcd.crt"), "-noout", "-ext", "subjectAltName"]);
    expect(String(names)).toMatch(/DNS:localhost, IP Address:127\.0\.0\.1, DNS:etcd1, IP Address:10\.1\.2\.3/);
    expect(spawnSync("sh", ["-c", `ls ${folder}/ca.key`]).status).not.toBe(0);
    expect(spawnSync("sh", [join(SCRIPTS, "certificates.sh"), folder], { encoding: "utf8" }).stderr).toContain(
      "name the members",
    );
  });

  test("users.sh switches authentication on, and may run again with other passwords", () => {
    expect(users()).toContain("authentication is on");
    writeFileSync(file("etcd-gateway"), `${PASSWORDS.gateway}`);
    expect(users()).toContain("admin gateway root");
    expect(spawnSync("etcdctl", ["get", "/apisix/x"], { env: environment() }).status).not.toBe(0);
    writeFileSync(file("etcd-root"), "not it");
    expect(users).toThrow(/another password/);
    writeFileSync(file("etcd-root"), PASSWORDS.root);
  });

  test("a gateway's user reads the configuration and writes none of it", () => {
    expect(as("gateway", "get", "/apisix/routes/1").status).toBe(0);
    expect(as("gateway", "put", "/apisix/routes/1", "{}").stderr).toContain("permission denied");
    expect(as("gateway", "get", "/other").stderr).toContain("permission denied");
    expect(as("admin", "get", "/other").stderr).toContain("permission denied");
  });

  test("the rights are those that docs/cluster.md names", () => {
    const rights = (text: string): string[] =>
      [...text.matchAll(/^etcdctl role grant-permission .*$/gm)]
        .map(([line]) => line.replace(" >/dev/null", ""))
        .filter((line) => !line.includes("# only where"));
    const wanted = rights(readFileSync(join(ROOT, "docs/cluster.md"), "utf8"));
    expect(wanted.length).toBeGreaterThan(3);
    expect(rights(readFileSync(join(SCRIPTS, "users.sh"), "utf8"))).toEqual(wanted);
  });

  test("an admin and a gateway work with them: a write is applied everywhere", async () => {
    const secured = (user: string) => ({
      etcd: etcd.endpoints,
      args: [
        "--etcd-ca",
        file("ca.crt"),
        "--etcd-cert",
        file("etcd.crt"),
        "--etcd-key",
        file("etcd.key"),
        "--etcd-user",
        user,
      ],
      env: { JOTGATE_ETCD_PASSWORD_FILE: file(`etcd-${user}`) },
    });
    [admin, gateway] = await Promise.all([
      startNode("admin", secured("admin")),
      startNode("gateway", secured("gateway")),
    ]);
    const answer = await fetch(`${admin.admin}/apisix/admin/routes/1?wait=all`, {
      method: "PUT",
      headers: { "X-API-KEY": ADMIN_KEY },
      body: JSON.stringify({ uri: "/hello", plugins: { mocking: { response_example: "{}" } } }),
    });
    expect(answer.status).toBe(201);
    expect((await fetch(`${gateway.gateway}/hello`)).status).toBe(200);
  });
});
