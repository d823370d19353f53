/**
 * `npm run cluster`: the cluster of docker-compose.yml as plain processes on loopback: etcd with three members, an admin
 * node, two gateway nodes, a balancer in front of them, an upstream, a secret store and, where it is installed, Prometheus with
 * the jobs of deploy/prometheus.yml and the alerts of deploy/alerts.yml. Ports that are taken are replaced by free ones, so that
 * several clusters run side by side. Ctrl-C ends all of it.
 *
 *   npm run cluster -- [--free-ports]
 */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { claimPort, Processes, untilAnswers } from "./processes.mjs";
import { buildIfNeeded, has, installIfNeeded, ROOT } from "./project.mjs";

const { values: options } = parseArgs({ options: { "free-ports": { type: "boolean", default: false } } });
const BIN = join(ROOT, "bin/jotgate.mjs");
const PROMETHEUS = has("prometheus") ? "prometheus" : undefined;
const HAPROXY = ["haproxy", "/usr/sbin/haproxy", "/usr/local/sbin/haproxy"].find((path) => has(path, "-v"));
const PORTS = {
  balancer: 9080,
  numbers: 8404,
  admin: 9180,
  adminStatus: 9091,
  gateway1: 9081,
  gateway1Status: 9092,
  gateway2: 9082,
  gateway2Status: 9093,
  echo: 8081,
  vault: 8200,
  etcd1: 12379,
  etcd2: 22379,
  etcd3: 32379,
  peer1: 12380,
  peer2: 22380,
  peer3: 32380,
  prometheus: 9094,
};
/** Where deploy/prometheus.yml has the parts of the composed cluster, and which port that is here. */
const SCRAPED = {
  "gateway1:9091": "gateway1Status",
  "gateway2:9091": "gateway2Status",
  "admin:9091": "adminStatus",
  "balancer:8404": "numbers",
  "etcd1:2381": "etcd1",
  "etcd2:2381": "etcd2",
  "etcd3:2381": "etcd3",
};
const MEMBERS = [1, 2, 3];

const say = (text) => console.log(text);
const at = (port) => `127.0.0.1:${port}`;
const http = (port) => `http://${at(port)}`;

function missing() {
  if (!has("etcd")) {
    say(
      "Missing: etcd. A cluster needs it: `apt-get install etcd-server etcd-client`, or a release of etcd in your PATH.",
    );
    return true;
  }
  if (!HAPROXY)
    say("Missing: haproxy (`apt-get install haproxy`). Going on without a balancer: call the gateways directly.");
  if (!PROMETHEUS)
    say("Missing: prometheus (`apt-get install prometheus`). Going on without it; /metrics of each node are there.");
  if (!has("vault")) say("Missing: vault. A stand-in for its KV version 1 engine runs instead (deploy/kv.mjs).");
  return false;
}

async function claimPorts() {
  const ports = {};
  for (const [name, wanted] of Object.entries(PORTS)) ports[name] = await claimPort(options["free-ports"] ? 0 : wanted);
  const other = Object.entries(PORTS).filter(([name, wanted]) => ports[name] !== wanted);
  if (!options["free-ports"] && other.length > 0)
    say(
      `Taken: ${other.map(([, wanted]) => wanted).join(", ")}. Free ports stand in for them; they are listed at the end.`,
    );
  return ports;
}

async function startEtcd(processes, ports, folder) {
  const cluster = MEMBERS.map((i) => `etcd${i}=${http(ports[`peer${i}`])}`).join(",");
  const started = MEMBERS.map((i) => {
    const [client, peer] = [http(ports[`etcd${i}`]), http(ports[`peer${i}`])];
    const args = [
      "--name",
      `etcd${i}`,
      "--data-dir",
      join(folder, `etcd${i}`),
      "--log-level",
      "warn",
      "--listen-client-urls",
      client,
      "--advertise-client-urls",
      client,
      "--listen-peer-urls",
      peer,
      "--initial-advertise-peer-urls",
      peer,
      "--initial-cluster",
      cluster,
      "--initial-cluster-token",
      folder,
      "--auto-compaction-mode",
      "periodic",
      "--auto-compaction-retention",
      "1h",
    ];
    return processes.start(`etcd${i}`, "etcd", args);
  });
  for (const [index, member] of started.entries())
    await untilAnswers(member, `${http(ports[`etcd${index + 1}`])}/health`, 200);
}

async function startSecrets(processes, ports) {
  if (!has("vault")) {
    const kv = processes.start("vault", process.execPath, [join(ROOT, "deploy/kv.mjs"), "--port", String(ports.vault)]);
    return untilAnswers(kv, http(ports.vault));
  }
  const listen = `-dev-listen-address=${at(ports.vault)}`;
  const vault = processes.start("vault", "vault", [
    "server",
    "-dev",
    "-dev-root-token-id=root",
    "-dev-no-store-token",
    listen,
  ]);
  await untilAnswers(vault, `${http(ports.vault)}/v1/sys/health`, 200);
  const env = { ...process.env, VAULT_ADDR: http(ports.vault), VAULT_TOKEN: "root" };
  spawnSync("vault", ["secrets", "enable", "-path=kv", "-version=1", "kv"], { env, stdio: "ignore" });
}

/** The variables of our own nodes, and none of the caller's. */
function nodeEnvironment(keys) {
  const foreign = Object.keys(process.env).filter((name) => name.startsWith("JOTGATE_"));
  return {
    ...Object.fromEntries(foreign.map((name) => [name, ""])),
    JOTGATE_ADMIN_KEY: keys.admin,
    JOTGATE_VIEWER_KEY: keys.viewer,
  };
}

async function startNodes(processes, ports, folder, keys) {
  const etcd = MEMBERS.map((i) => http(ports[`etcd${i}`])).join(",");
  const env = nodeEnvironment(keys);
  const common = (name, status) => [
    "--etcd",
    etcd,
    "--data-dir",
    join(folder, name),
    "--status-listen",
    at(status),
    "--control-listen",
    "off",
  ];
  const admin = processes.start(
    "admin",
    process.execPath,
    [BIN, "admin", "--admin-listen", at(ports.admin), ...common("admin", ports.adminStatus)],
    env,
  );
  const gateways = [1, 2].map((i) =>
    processes.start(
      `gateway${i}`,
      process.execPath,
      [
        BIN,
        "gateway",
        "--gateway-listen",
        at(ports[`gateway${i}`]),
        "--workers",
        "1",
        "--trusted-addresses",
        "127.0.0.1",
        "--real-ip-header",
        "X-Forwarded-For",
        ...common(`gateway${i}`, ports[`gateway${i}Status`]),
      ],
      env,
    ),
  );
  await untilAnswers(admin, `${http(ports.adminStatus)}/ready`, 200);
  for (const [index, node] of gateways.entries()) {
    await untilAnswers(node, `${http(ports[`gateway${index + 1}Status`])}/ready`, 200);
  }
}

async function startBalancer(processes, ports) {
  if (!HAPROXY) return;
  const balancer = processes.start("balancer", HAPROXY, ["-W", "-db", "-f", join(ROOT, "deploy/haproxy.cfg")], {
    BALANCER_LISTEN: at(ports.balancer),
    NUMBERS_LISTEN: at(ports.numbers),
    GATEWAY1: at(ports.gateway1),
    GATEWAY1_STATUS: String(ports.gateway1Status),
    GATEWAY2: at(ports.gateway2),
    GATEWAY2_STATUS: String(ports.gateway2Status),
  });
  await untilAnswers(balancer, http(ports.balancer));
}

/** The jobs of deploy/prometheus.yml at the ports of this cluster, and its alerts. */
async function startPrometheus(processes, ports, folder) {
  if (!PROMETHEUS) return;
  const jobs = readFileSync(join(ROOT, "deploy/prometheus.yml"), "utf8").replace(/\b[a-z]+[0-9]?:\d+\b/g, (target) => {
    if (SCRAPED[target] === undefined)
      throw new Error(`deploy/prometheus.yml scrapes ${target}, which this cluster does not know`);
    return at(ports[SCRAPED[target]]);
  });
  copyFileSync(join(ROOT, "deploy/alerts.yml"), join(folder, "alerts.yml"));
  writeFileSync(join(folder, "prometheus.yml"), `${jobs}\nrule_files: [alerts.yml]\n`);
  const args = [
    "--config.file",
    "prometheus.yml",
    "--storage.tsdb.path",
    "prometheus",
    "--web.listen-address",
    at(ports.prometheus),
  ];
  const prometheus = processes.start("prometheus", PROMETHEUS, args);
  await untilAnswers(prometheus, `${http(ports.prometheus)}/-/ready`, 200);
}

function announce(ports, keys, folder) {
  const callers = HAPROXY ? ports.balancer : ports.gateway1;
  say(`
The cluster runs.
  callers        ${http(callers)}${HAPROXY ? `   (balancer; its numbers on ${http(ports.numbers)})` : ""}
  gateway 1      ${http(ports.gateway1)}   status ${http(ports.gateway1Status)}/status
  gateway 2      ${http(ports.gateway2)}   status ${http(ports.gateway2Status)}/status
  Admin API      ${http(ports.admin)}/apisix/admin   status ${http(ports.adminStatus)}/status
  etcd           ${MEMBERS.map((i) => http(ports[`etcd${i}`])).join(",")}
  upstream       ${at(ports.echo)}
  Prometheus     ${PROMETHEUS ? `${http(ports.prometheus)}   (targets /targets, alerts /alerts)` : "not installed"}
  secrets        ${http(ports.vault)}   (token root, KV version 1 at kv/)
  admin key      ${keys.admin}
  viewer key     ${keys.viewer}
  output, data   ${folder}   (removed at the end)

Try:
  curl ${http(ports.admin)}/apisix/admin/routes/1 -X PUT -H 'X-API-KEY: ${keys.admin}' \\
    -d '{"uri": "/anything/*", "upstream": {"type": "roundrobin", "nodes": {"${at(ports.echo)}": 1}}}'
  curl ${http(callers)}/anything/hello

Ctrl-C ends all of it.`);
}

const folder = mkdtempSync(join(tmpdir(), "jotgate-cluster-"));
const processes = new Processes(folder, say);
let stopping;
let asked = 0;

/** npm passes Ctrl-C on although the terminal has already told us: the same press is not a second one. */
function onSignal() {
  if (stopping === undefined) {
    asked = Date.now();
    say("\nStopping; once more ends everything at once.");
    stopping = stop(0);
  } else if (Date.now() - asked > 500) {
    processes.kill();
  }
}

async function stop(code) {
  await processes.stop();
  rmSync(folder, { recursive: true, force: true });
  process.exit(code);
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, onSignal);
try {
  await installIfNeeded();
  await buildIfNeeded();
  if (missing()) {
    rmSync(folder, { recursive: true, force: true });
    process.exit(1);
  }
  const ports = await claimPorts();
  const keys = { admin: randomBytes(16).toString("hex"), viewer: randomBytes(16).toString("hex") };
  say("Starting etcd (3 members) ...");
  await startEtcd(processes, ports, folder);
  say("Starting the upstream and the secret store ...");
  processes.start("echo", process.execPath, [join(ROOT, "deploy/echo.mjs"), "--port", String(ports.echo)]);
  await startSecrets(processes, ports);
  say("Starting the admin node and two gateway nodes ...");
  await startNodes(processes, ports, folder, keys);
  await startBalancer(processes, ports);
  await startPrometheus(processes, ports, folder);
  if (stopping === undefined) announce(ports, keys, folder);
  setInterval(() => {}, 3_600_000); // until a signal
} catch (error) {
  if (stopping === undefined) {
    console.error(`cluster: ${error.message}`);
    if (error.output) console.error(error.output);
    stopping = stop(1);
  }
}
