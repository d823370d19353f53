/**
 * deploy/grafana and deploy/alerts.yml against a real Prometheus that scrapes a real cluster: every expression finds series.
 */
import { spawnSync } from "node:child_process";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctl, etcdctlAvailable } from "../support/etcdctl.ts";
import { type IssuerServer, makeKey, openIssuerServer } from "../support/issuer-server.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, ROOT, type Running, run, startNode, temporaryFolder, until } from "../support/process.ts";
import { metricsOf } from "../support/scrape.ts";

const DEPLOY = join(ROOT, "deploy");
const available = (program: string): boolean => spawnSync(program, ["--version"]).error === undefined;
const possible = etcdAvailable() && etcdctlAvailable() && available("prometheus") && available("promtool");

interface Board {
  readonly panels: readonly { readonly title: string; readonly targets?: readonly { readonly expr: string }[] }[];
}
interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
}

const textOf = (folder: string, name: string): string => readFileSync(join(folder, name), "utf8");
const boards = readdirSync(join(DEPLOY, "grafana")).map((name) => ({
  name,
  board: JSON.parse(textOf(join(DEPLOY, "grafana"), name)) as Board,
}));
const rules = (parse(readFileSync(join(DEPLOY, "alerts.yml"), "utf8")) as Rules).groups.flatMap((group) => group.rules);

test("deploy/grafana is what scripts/grafana.mjs writes", () => {
  const folder = temporaryFolder("grafana");
  expect(spawnSync(process.execPath, [join(ROOT, "scripts/grafana.mjs"), folder]).status).toBe(0);
  expect(readdirSync(folder).sort()).toEqual(boards.map(({ name }) => name).sort());
  for (const { name } of boards) expect(textOf(join(DEPLOY, "grafana"), name)).toBe(textOf(folder, name));
});

test("docs/operations/alerts.md says of every alert what to do", () => {
  const page = readFileSync(join(ROOT, "docs/operations/alerts.md"), "utf8");
  expect([...page.matchAll(/^## (Jotgate\w+)$/gm)].map(([, name]) => name)).toEqual(rules.map(({ alert }) => alert));
});

describe.skipIf(!possible)("Prometheus", () => {
  let etcd: EtcdCluster;
  let nodes: Node[] = [];
  let upstream: Server;
  let issuer: IssuerServer;
  let prometheus: Running;
  let base = "";

  beforeAll(async () => {
    upstream = createServer((_request, response) => response.end("{}"));
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    [etcd, issuer] = await Promise.all([startEtcd(), openIssuerServer()]);
    const key = makeKey("k1");
    issuer.keys = [key.jwk];
    const gateway = {
      etcd: etcd.endpoints,
      args: ["--workers", "1", "--gateway-tls-listen", `127.0.0.1:${await freePort()}`],
    };
    nodes = await Promise.all([
      startNode("admin", { etcd: etcd.endpoints }),
      startNode("gateway", gateway),
      startNode("gateway", { ...gateway, args: ["--workers", "2"] }),
    ]);
    await configure(nodes[0] as Node, (upstream.address() as AddressInfo).port, issuer.url);
    await etcdctl(etcd.endpoints, ["put", "/apisix/routes/refused", '{"uri": 5}']);
    base = await startPrometheus(nodes);
    await callForAWhile(nodes.slice(1), issuer.token(key, { aud: "https://api.example.com" }));
  }, 300_000);

  afterAll(async () => {
    await prometheus?.stop();
    await Promise.all(nodes.map((node) => node.stop()));
    await Promise.all([etcd?.stop(), issuer?.close()]);
    upstream?.close();
  });

  async function configure(node: Node, port: number, issuerUrl: string): Promise<void> {
    const at = (name: string) => ({ type: "roundrobin", nodes: { [name]: 1 } });
    const records: Record<string, object> = {
      "/global_rules/1": { plugins: { prometheus: {} } },
      "/ssls/1": { cert: CERTIFICATE, key: PRIVATE_KEY, snis: ["example.com"] },
      "/upstreams/checked": {
        ...at(`127.0.0.1:${port}`),
        checks: { active: { type: "http", http_path: "/", healthy: { interval: 1 } } },
      },
      "/routes/checked": { uri: "/checked", upstream_id: "checked" },
      "/routes/named": { uri: "/named", upstream: at(`localhost:${port}`) },
      "/routes/away": {
        uri: "/away",
        upstream: { ...at("127.0.0.1:1"), retries: 1, nodes: { "127.0.0.1:1": 1, "127.0.0.2:1": 1 } },
      },
      "/routes/jwt": { uri: "/jwt", plugins: { "jwt-auth": {} }, upstream_id: "checked" },
      "/routes/sign": { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } },
      "/token_issuers/idp": { issuer: issuerUrl, jwks_uri: `${issuerUrl}/keys`, allow_http: true },
      "/routes/access": {
        uri: "/access",
        plugins: {
          "access-token": { issuers: ["idp"], audiences: ["https://api.example.com"], consumer_by: "none" },
        },
        upstream_id: "checked",
      },
      "/authorization_servers/main": { issuer: "http://127.0.0.1:9" },
      "/routes/auth": { uris: ["/oauth2/*", "/.well-known/*"], plugins: { "authorization-server": { id: "main" } } },
      "/consumers/jack": { username: "jack", plugins: { "jwt-auth": { key: "jack-key" } } },
    };
    for (const [path, record] of Object.entries(records)) {
      const { status, body } = await admin(node, "PUT", path, record);
      expect([200, 201], `${path} ${JSON.stringify(body)}`).toContain(status);
    }
    await admin(node, "POST", "/revocations?wait=all", { consumer: "jack", issued_before: 1 });
  }

  async function startPrometheus(scraped: readonly Node[]): Promise<string> {
    const folder = temporaryFolder("prometheus");
    copyFileSync(join(DEPLOY, "alerts.yml"), join(folder, "alerts.yml"));
    const targets = scraped.map(({ status }) => new URL(status).host);
    const config = {
      global: { scrape_interval: "1s", evaluation_interval: "1s" },
      rule_files: ["alerts.yml"],
      scrape_configs: [{ job_name: "jotgate", static_configs: [{ targets }] }],
    };
    writeFileSync(join(folder, "prometheus.yml"), JSON.stringify(config)); // JSON is YAML
    const port = await freePort();
    prometheus = run("prometheus", [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
      "--log.level=warn",
    ]);
    return `http://127.0.0.1:${port}`;
  }

  async function callForAWhile(gateways: readonly Node[], token: string): Promise<void> {
    const paths = ["/checked", "/named", "/away", "/jwt", "/access", "/nothing", "/oauth2/token"];
    await until("three rounds were scraped", async () => {
      for (const { gateway } of gateways) {
        const jwt = await (await fetch(`${gateway}/apisix/plugin/jwt/sign?key=jack-key`)).text();
        await fetch(`${gateway}/jwt`, { headers: { authorization: jwt } });
        await fetch(`${gateway}/access`, { headers: { authorization: `Bearer ${token}` } });
        await fetch(`${gateway}/oauth2/token`, {
          method: "POST",
          headers: { authorization: `Basic ${btoa("nobody:nothing")}` },
          body: new URLSearchParams({ grant_type: "client_credentials" }),
        });
        for (const path of paths) await fetch(gateway + path);
      }
      return (await ask("min(count_over_time(up[30s])) >= 5 and min(up) == 1")).length > 0;
    });
  }

  async function ask(query: string): Promise<readonly unknown[]> {
    const answer = await fetch(`${base}/api/v1/query`, { method: "POST", body: new URLSearchParams({ query }) });
    const { data, error } = (await answer.json()) as { data?: { result: readonly unknown[] }; error?: string };
    if (!data) throw new Error(`${query}: ${error}`);
    return data.result;
  }

  test("scrapes all nodes, by OpenMetrics", async () => {
    expect(await ask("up == 1")).toHaveLength(3);
    const answer = await fetch(`${nodes[1]?.status}/metrics`, {
      headers: {
        accept:
          "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
      },
    });
    expect(answer.headers.get("content-type")).toBe("application/openmetrics-text; version=1.0.0; charset=utf-8");
    expect(await answer.text()).toMatch(/\n# EOF\n$/);
  });

  test("promtool finds nothing wrong with our names, only with APISIX's", async () => {
    for (const node of nodes) {
      const checked = spawnSync("promtool", ["check", "metrics"], { input: await metricsOf(node), encoding: "utf8" });
      const lines = `${checked.stdout}${checked.stderr}`
        .split("\n")
        .filter((line) => line !== "" && !line.startsWith("apisix_"));
      expect(lines).toEqual([]);
    }
  });

  test("every expression of every board finds series", async () => {
    const without: string[] = [];
    for (const { name, board } of boards) {
      for (const { title, targets = [] } of board.panels) {
        for (const { expr } of targets) {
          const query = expr.replaceAll(/\$(job|instance)/g, ".+").replaceAll("$__rate_interval", "20s");
          if ((await ask(query)).length === 0) without.push(`${name}: ${title}: ${query}`);
          // What is put in place of nothing must not hide a metric that is none.
          for (const [metric] of expr.matchAll(/\b(?:jotgate|apisix|nodejs|process)_\w+/g)) {
            if ((await ask(metric)).length === 0) without.push(`${name}: ${title}: ${metric}`);
          }
        }
      }
    }
    expect(without).toEqual([]);
  });

  test("every metric that an alert rests on has series, and the refused record is an alert to be", async () => {
    for (const { alert, expr } of rules) {
      for (const [name] of expr.matchAll(/\b(?:up|(?:jotgate|nodejs)_\w+)\b/g)) {
        if (!/_access_log_/.test(name)) expect(await ask(name), `${alert} ${name}`).not.toEqual([]);
      }
    }
    await until("the alert is pending", async () => {
      const answer = (await (await fetch(`${base}/api/v1/alerts`)).json()) as {
        data: { alerts: readonly { labels: { alertname: string } }[] };
      };
      return answer.data.alerts.some(({ labels }) => labels.alertname === "JotgateRecordProblems");
    });
  });

  test("the alerts' own unit tests pass", () => {
    const tested = spawnSync("promtool", ["test", "rules", "alerts.test.yml"], { cwd: DEPLOY, encoding: "utf8" });
    expect(tested.status, tested.stdout + tested.stderr).toBe(0);
  });
});
