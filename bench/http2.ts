/**
 * HTTP/2 over TLS: h2load against nginx, HAProxy and ours, all with one certificate. 16 connections of 4 streams each.
 */
import { execFile, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { plainRoute, put } from "./case-parts.ts";
import { type Burst, type Measured, measuredFrom } from "./load.ts";
import { usageOf } from "./machine.ts";
import { readRequests, requestsFile } from "./request-lines.ts";
import { percentile } from "./schedule.ts";
import { type Series, series } from "./series.ts";
import {
  freePort,
  has,
  jotgate,
  LOAD_CORE,
  launch,
  launchHaproxy,
  SERVER_CORE,
  type Server,
  type ServerKind,
} from "./servers.ts";

const run = promisify(execFile);
const HOST = "bench.test";
const CLIENTS = 16;
const STREAMS = 4;

interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** Files of a certificate of its own for HOST. */
function makePair(folder: string): Pair {
  mkdirSync(folder, { recursive: true });
  const [cert, key] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const args = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
  args.push("-subj", `/CN=${HOST}`, "-addext", `subjectAltName=DNS:${HOST}`, "-keyout", key, "-out", cert);
  const made = spawnSync("openssl", args, { encoding: "utf8" });
  if (made.status !== 0) throw new Error(`openssl made no certificate: ${made.stderr}`);
  return { cert, key };
}

const missing = (tool: string) => (): string | undefined => {
  const without = [tool, "h2load", "openssl"].filter((one) => one !== "" && !has(one));
  return without.length === 0 ? undefined : `HTTP/2: ${without.join(", ")} not installed`;
};

/** Serves plain HTTP for a look at answers, and HTTP/2 for the load. */
function kind(
  name: string,
  tool: string,
  start: (upstream: string, folder: string, pair: Pair, tls: number) => Promise<Server>,
): ServerKind {
  return {
    name,
    missing: missing(tool),
    async start(upstream, folder) {
      const tls = await freePort();
      const server = await start(upstream, folder, makePair(folder), tls);
      return { ...server, http2: `https://${HOST}:${tls}` };
    },
  };
}

const NGINX = kind("nginx", "nginx", async (upstream, folder, { cert, key }, tls) => {
  const port = await freePort();
  const conf = join(folder, "nginx.conf");
  writeFileSync(
    conf,
    `daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log crit;
events { worker_connections 4096; }
http { access_log off; client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/f;
uwsgi_temp_path ${folder}/u; scgi_temp_path ${folder}/s; keepalive_requests 100000000; http2_max_concurrent_streams 128;
upstream backend { server ${upstream.replace("http://", "")}; keepalive 256; keepalive_requests 100000000; }
server { listen 127.0.0.1:${port}; listen 127.0.0.1:${tls} ssl http2; ssl_certificate ${cert}; ssl_certificate_key ${key};
  location / { proxy_pass http://backend; proxy_http_version 1.1; proxy_set_header Connection ""; }
} }
`,
  );
  return launch("nginx", SERVER_CORE, "nginx", ["-p", folder, "-c", conf, "-e", `${folder}/error.log`], port);
});

const HAPROXY = kind("haproxy", "haproxy", async (upstream, folder, { cert, key }, tls) => {
  const pem = join(folder, "both.pem");
  writeFileSync(pem, readFileSync(cert, "utf8") + readFileSync(key, "utf8"));
  const bind = `bind 127.0.0.1:${tls} ssl crt ${pem} alpn h2`;
  return launchHaproxy("haproxy", upstream, folder, await freePort(), bind);
});

const OURS = "jotgate, HTTP/2";
const JOTGATE = kind(OURS, "", async (upstream, folder, { cert, key }, tls) => {
  const ours = jotgate(OURS, ["--workers", "1", "--gateway-tls-listen", `127.0.0.1:${tls}`]);
  const why = ours.missing();
  if (why !== undefined) throw new Error(why);
  const server = await ours.start(upstream, folder);
  const [certificate, secret] = [readFileSync(cert, "utf8"), readFileSync(key, "utf8")];
  await put(server, "/ssls/bench", { snis: [HOST], cert: certificate, key: secret });
  return server;
});

/** As fast as all streams go. @throws Error when h2load printed no result */
export async function measureHttp2(burst: Burst, http2: string): Promise<Measured> {
  const log = `${burst.requests}.log`;
  const { port } = new URL(http2);
  const [first] = readRequests(burst.requests);
  const before = usageOf(burst.pid);
  const args = ["-c", LOAD_CORE, "h2load", "-t", "1", "-c", String(CLIENTS), "-m", String(STREAMS)];
  args.push("-D", String(burst.seconds), `--connect-to=127.0.0.1:${port}`, `--log-file=${log}`);
  const done = await run("taskset", [...args, http2 + (first?.path ?? "/")], { encoding: "utf8" });
  const after = usageOf(burst.pid);
  const failed = /(\d+) failed, (\d+) errored, (\d+) timeout/.exec(done.stdout);
  if (!failed) throw new Error(`h2load gave no result for ${http2}: ${done.stdout}${done.stderr}`);
  // Of each answer: when it was asked for, its status, and how many microseconds it took.
  const answers = readFileSync(log, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => line.split("\t").map(Number));
  rmSync(log);
  const sorted = Float64Array.from(answers, ([, , micros = 0]) => micros).sort();
  const at = (percent: number): number => percentile(sorted, percent) / 1_000;
  return {
    ...measuredFrom(before, after, answers.length),
    requestsPerSecond: answers.length / burst.seconds,
    ...{ p50Ms: at(50), p99Ms: at(99), p999Ms: at(99.9) },
    statusErrors: answers.filter(([, status = 0]) => status >= 400 || status < 200).length,
    socketErrors: Number(failed[2]) + Number(failed[3]),
  };
}

export const HTTP2: Series = series(
  "HTTP/2",
  [NGINX, HAPROXY, JOTGATE].map((one) => ({
    case: "HTTP/2 plain",
    kind: one,
    expect: { status: 200 },
    async prepare(server, upstream, folder) {
      await plainRoute(server, upstream);
      return requestsFile(folder, "http2", ["/plain/x"]);
    },
  })),
);
