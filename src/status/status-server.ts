/**
 * The status listener: probes for load balancers, metrics for Prometheus, configuration facts for other nodes and a
 * page for people. Read-only; nothing it says is secret, yet it belongs on an inner network.
 * Source of shapes: design of the cluster barrier (`/applied`), APISIX's `/status/ready`.
 */
import { Readable } from "node:stream";
import { constants, createGzip } from "node:zlib";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Address } from "../settings/setting-kinds.ts";
import type { HealthReport } from "./control-server.ts";
import { createServer, listen, type StatusListener } from "./listener.ts";
import { asOpenMetrics, OPENMETRICS_TYPE, wantsOpenMetrics } from "./openmetrics-text.ts";
import { type OperatorSource, serveOperators } from "./operator-routes.ts";
import { type CopyStatus, type NodeSource, notReady, type RecordProblem } from "./status-facts.ts";
import { CONTENT_SECURITY_POLICY, statusPage } from "./status-page.ts";

interface StatusOptions {
  readonly listen: Address;
  /** Host names it answers to, beside those of every machine. */
  readonly hosts?: readonly string[];
  readonly facts: NodeSource;
  /** Health of upstream nodes, as APISIX's Control API shows it. */
  readonly health: () => Promise<readonly HealthReport[]>;
  /** All metrics of the node in Prometheus' text format, workers merged. */
  readonly metrics: () => Promise<readonly Buffer[]>;
  readonly metricsType: string;
  /** Where they are beside `/metrics`. */
  readonly exportUri: string;
  readonly nowMs: () => number;
  /** Absent where no requests are served. */
  readonly operators?: OperatorSource | undefined;
}

/** Longest list of problems in an answer; the number of all is beside it. */
const PROBLEMS_MAX = 100;
/** The same for `/problems`, which says nothing else. */
const ALL_PROBLEMS_MAX = 1_000;
/** Of `/issuers`, which `?id=` narrows. */
const ISSUERS_MAX = 100;
const WAIT_MAX_MS = 60_000;
/** Beyond this many, a long poll is answered at once. */
const WAITING_MAX = 256;

export async function openStatus(options: StatusOptions): Promise<StatusListener> {
  const { facts } = options;
  const server = createServer({ error_msg: "not found" }, options.hosts ?? [], "status.hosts");
  let waiting = 0;

  server.get("/live", async () => ({ status: "ok" }));

  const ready = async (_request: unknown, reply: FastifyReply): Promise<object> => {
    const reason = notReady(facts);
    // What a file says wrong is no reason to take a node out that serves the one before.
    const { problem } = facts.config();
    const detail = problem?.code === "file-invalid" ? { problem: problem.text } : {};
    if (reason === undefined) return { status: "ok", ...detail };
    void reply.code(503);
    return { status: "error", error: reason };
  };
  server.get("/ready", ready);
  server.get("/status/ready", ready);

  const metrics = async ({ headers }: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> => {
    const chunks = await options.metrics();
    const open = wantsOpenMetrics(headers.accept);
    const text = Readable.from(open ? asOpenMetrics(chunks) : chunks);
    void reply.type(open ? OPENMETRICS_TYPE : options.metricsType).header("vary", "accept, accept-encoding");
    if (!takesGzip(headers["accept-encoding"])) return reply.send(text);
    return reply.header("content-encoding", "gzip").send(text.pipe(createGzip({ level: constants.Z_BEST_SPEED })));
  };
  server.get("/metrics", metrics);
  if (options.exportUri !== "/metrics") server.get(options.exportUri, metrics);

  server.get("/config", async () => configAnswer(facts, options.nowMs()));
  server.get("/healthcheck", async () => options.health());
  server.get("/problems", async () => {
    const { problems } = facts.config();
    return { list: problems.slice(0, ALL_PROBLEMS_MAX).map(problemAnswer), total: problems.length };
  });

  server.get("/issuers", async (request) => {
    const { id } = request.query as { readonly id?: unknown };
    const list = facts.issuers().filter((one) => id === undefined || one.id === id);
    return { list: list.slice(0, ISSUERS_MAX), total: list.length };
  });

  server.get("/applied", async (request, reply) => {
    const { min, wait } = request.query as { readonly min?: unknown; readonly wait?: unknown };
    const wanted = readNumber(min ?? "0");
    const waitMs = readNumber(wait ?? "0");
    if (wanted === undefined || waitMs === undefined) {
      return reply.code(400).send({ error_msg: "min must be a revision and wait a number of milliseconds" });
    }
    let applied = facts.config().appliedRevision >= wanted;
    if (!applied && waitMs > 0n && waiting < WAITING_MAX) {
      waiting++;
      try {
        applied = await facts.waitApplied(wanted, Math.min(Number(waitMs), WAIT_MAX_MS));
      } finally {
        waiting--;
      }
    }
    return { applied, revision: number(facts.config().appliedRevision) };
  });

  server.get("/status", async (request, reply) => {
    if (!(request.headers.accept ?? "").includes("text/html")) return nodeAnswer(facts, options.nowMs());
    return reply
      .header("content-security-policy", CONTENT_SECURITY_POLICY)
      .type("text/html; charset=utf-8")
      .send(statusPage(facts, options.nowMs()));
  });

  if (options.operators) serveOperators(server, options.operators);

  return listen(server, options.listen);
}

/** RFC 9110 section 12.5.3: named, or covered by `*`, and not with weight 0. */
function takesGzip(accepted: string | string[] | undefined): boolean {
  const codings = String(accepted ?? "")
    .split(",")
    .map((coding) => coding.trim().toLowerCase());
  const own =
    codings.find((coding) => /^(?:x-)?gzip(?:$|[\s;])/.test(coding)) ??
    codings.find((coding) => coding.startsWith("*"));
  return own !== undefined && !/;\s*q=0(?:\.0*)?$/.test(own);
}

/** What `/config` says. Ages are seconds. */
function configAnswer(facts: NodeSource, nowMs: number): object {
  const config = facts.config();
  return {
    revision: number(config.appliedRevision),
    store_head_revision: number(config.storeHeadRevision),
    loaded: config.loaded,
    fresh: config.fresh,
    connected: config.connected,
    staleness_seconds: round(config.stalenessSeconds),
    age_seconds: config.changedAtMs === undefined ? null : round((nowMs - config.changedAtMs) / 1_000),
    hash: config.hash,
    records: config.records,
    store_problem: config.problem ? { code: config.problem.code, text: config.problem.text } : null,
    last_known_good: config.copy ? copyAnswer(config.copy) : null,
    problems_total: config.problems.length,
    problems: config.problems.slice(0, PROBLEMS_MAX).map(problemAnswer),
  };
}

function problemAnswer(problem: RecordProblem): object {
  const { key, kind, revision, reason, blocks } = problem;
  return { key, kind, revision: number(revision), reason, blocks };
}

function copyAnswer({ savedAtMs, savedRevision, problem }: CopyStatus): object {
  return {
    saved: savedAtMs === undefined ? null : Math.floor(savedAtMs / 1_000),
    revision: savedRevision === undefined ? null : number(savedRevision),
    problem: problem ?? null,
  };
}

/** What `/status` says to programs. */
function nodeAnswer(facts: NodeSource, nowMs: number): object {
  const reason = notReady(facts);
  return {
    status: reason === undefined ? "ok" : "error",
    ...(reason === undefined ? {} : { error: reason }),
    id: facts.id,
    role: facts.role,
    version: facts.version,
    store: facts.store,
    started: Math.floor(facts.startedAtMs / 1_000),
    draining: facts.draining(),
    workers: facts.workers().map((worker) => ({ ...worker, appliedRevision: number(worker.appliedRevision) })),
    listeners: facts.listeners(),
    config: configAnswer(facts, nowMs),
  };
}

/** Revisions and milliseconds: digits only. */
function readNumber(text: unknown): bigint | undefined {
  return typeof text === "string" && /^\d{1,19}$/.test(text) ? BigInt(text) : undefined;
}

/** Revisions stay far below 2^53; one that does not is sent as text rather than rounded. */
function number(value: bigint): number | string {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
}

function round(seconds: number): number {
  return Math.round(seconds * 1_000) / 1_000;
}
