/**
 * APISIX's Control API on loopback: what one node holds, in the shapes that tools know.
 * Source: APISIX docs control-api.md and server-info.md at 3.18; docs/compatibility.md.
 */
import { own } from "../base/json/members.ts";
import type { Address } from "../settings/setting-kinds.ts";
import { createServer, listen, type StatusListener } from "./listener.ts";

/** One health checker, as `/v1/healthcheck` shows it. */
export interface HealthReport {
  /** Key of the record that configures it: `/apisix/upstreams/1`. */
  readonly name: string;
  readonly type: "http" | "https" | "tcp";
  readonly nodes: readonly HealthNode[];
}

export interface HealthNode {
  readonly ip: string;
  readonly port: number;
  readonly hostname?: string;
  readonly status: "healthy" | "mostly_healthy" | "mostly_unhealthy" | "unhealthy";
  readonly counter: {
    readonly success: number;
    readonly http_failure: number;
    readonly tcp_failure: number;
    readonly timeout_failure: number;
  };
}

/** A record as a node holds it. */
export interface ControlRecord {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
  readonly createdIndex: number;
  readonly modifiedIndex: number;
}

/** What the Control API asks of a node. */
export interface ControlSource {
  serverInfo(): {
    readonly id: string;
    readonly version: string;
    readonly hostname: string;
    readonly boot_time: number;
    readonly etcd_version: string;
  };
  schemas(): {
    readonly main: Readonly<Record<string, unknown>>;
    readonly plugins: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  };
  /** Every configured health checker that has seen a request. */
  health(): Promise<readonly HealthReport[]>;
  /** The calls that the node refused last, newest first. */
  refusals(query: {
    readonly request_id?: string;
    readonly consumer?: string;
    readonly reason?: string;
  }): Promise<readonly object[]>;
  /** Secrets masked. */
  records(kind: "routes" | "services" | "upstreams" | "plugin_metadata"): readonly ControlRecord[];
}

/** Plural and singular paths of record dumps. */
const DUMPS = [
  ["routes", "route"],
  ["services", "service"],
  ["upstreams", "upstream"],
] as const;
const CHECKED: readonly string[] = DUMPS.map(([plural]) => plural);

export async function openControl(options: {
  readonly listen: Address;
  /** Host names it answers to, beside those of every machine. */
  readonly hosts?: readonly string[];
  readonly facts: ControlSource;
}): Promise<StatusListener> {
  const { facts } = options;
  const server = createServer({ error_msg: "404 Not Found" }, options.hosts ?? [], "control.hosts");
  const missing = (error_msg: string): { code: 404; body: object } => ({ code: 404, body: { error_msg } });

  // Plugins are loaded when a node starts, and memory is the engine's own matter: done is done.
  server.put("/v1/plugins/reload", async (_request, reply) => reply.send("done"));
  server.post("/v1/gc", async (_request, reply) => reply.send());

  server.get("/v1/server_info", async () => facts.serverInfo());

  server.get("/v1/schema", async () => ({ ...facts.schemas(), stream_plugins: {} }));
  server.get<{ Params: { name: string } }>("/v1/schema/plugin/:name", async (request, reply) => {
    const schema = own(facts.schemas().plugins, request.params.name);
    const { code, body } = schema ? { code: 200, body: schema } : missing("not found schema");
    return reply.code(code).send(body);
  });
  server.get<{ Params: { name: string } }>("/v1/schema/:name", async (request, reply) => {
    const schema = own(facts.schemas().main, request.params.name);
    const { code, body } = schema ? { code: 200, body: schema } : missing("not found schema");
    return reply.code(code).send(body);
  });

  server.get("/v1/healthcheck", async () => facts.health());
  server.get<{ Params: { kind: string; id?: string } }>("/v1/healthcheck/:kind/:id?", async (request, reply) => {
    const { kind, id = "" } = request.params;
    if (id === "") return reply.code(404).send({ error_msg: `missing src id for src type ${kind}` });
    if (!CHECKED.includes(kind)) return reply.code(400).send({ error_msg: `invalid src type ${kind}` });
    const report = (await facts.health()).find(({ name }) => name.endsWith(`/${kind}/${id}`));
    if (report) return report;
    const known = facts.records(kind as (typeof DUMPS)[number][0]).some(({ key }) => key.endsWith(`/${kind}/${id}`));
    return reply.code(404).send({ error_msg: known ? `no checker for ${kind}[${id}]` : `${kind}[${id}] not found` });
  });

  server.get("/v1/refusals", async (request, reply) => {
    const query = refusalQuery(request.query);
    if (typeof query === "string") return reply.code(400).send({ error_msg: query });
    const list = await facts.refusals(query);
    return { list, total: list.length };
  });

  for (const [plural, singular] of DUMPS) {
    server.get(`/v1/${plural}`, async () => facts.records(plural));
    server.get<{ Params: { id: string } }>(`/v1/${singular}/:id`, async (request, reply) => {
      const record = facts.records(plural).find(({ key }) => key.endsWith(`/${plural}/${request.params.id}`));
      return record ?? reply.code(404).send({ error_msg: `${singular}[${request.params.id}] not found` });
    });
  }

  server.get("/v1/plugin_metadatas", async () => facts.records("plugin_metadata").map(withId));
  server.get<{ Params: { name: string } }>("/v1/plugin_metadata/:name", async (request, reply) => {
    const { name } = request.params;
    const record = facts.records("plugin_metadata").find(({ key }) => key.endsWith(`/plugin_metadata/${name}`));
    return record ? withId(record) : reply.code(404).send({ error_msg: `plugin metadata[${name}] not found` });
  });

  return listen(server, options.listen);
}

const ASKED = ["request_id", "consumer", "reason"] as const;
const ASKED_MAX = 256;

/** @returns which refusals are asked for, or what is wrong with the question */
export function refusalQuery(query: unknown): Partial<Record<(typeof ASKED)[number], string>> | string {
  const wanted: Partial<Record<(typeof ASKED)[number], string>> = {};
  for (const [name, value] of Object.entries(query as Readonly<Record<string, unknown>>)) {
    const known = ASKED.find((one) => one === name);
    if (known === undefined) return `refusals: there is no argument ${name.slice(0, 64)}: use ${ASKED.join(", ")}`;
    if (typeof value !== "string" || value === "" || value.length > ASKED_MAX)
      return `refusals: ${name} must be given once, with 1 to ${ASKED_MAX} characters`;
    wanted[known] = value;
  }
  return wanted;
}

function withId(record: ControlRecord): object {
  return { ...record.value, id: record.key.slice(record.key.lastIndexOf("/") + 1) };
}
