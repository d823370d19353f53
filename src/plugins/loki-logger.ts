/**
 * loki-logger: entries in batches to Grafana Loki, a stream for each set of labels. Source: APISIX 3.18 loki-logger.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { compileTemplate } from "../plugin/variables/template.ts";
import type { LogEntry } from "./loggers/log-batches.ts";
import { sendHttp } from "./loggers/log-targets.ts";
import { loggerError, loggerPhases, loggerSchema, logMetadata } from "./loggers/logger-schema.ts";
import { canonicalText, HttpUri } from "./shared/schema-parts.ts";

const Texts = Type.Unsafe<Readonly<Record<string, string>>>({
  type: "object",
  patternProperties: { ".*": { type: "string", minLength: 1 } },
});

const schema = loggerSchema("loki logger", {
  endpoint_addrs: Type.Array(HttpUri, { minItems: 1 }),
  endpoint_uri: Defaulted(Type.String({ minLength: 1, default: "/loki/api/v1/push" })),
  tenant_id: Defaulted(Type.String({ default: "fake" })),
  headers: Type.Optional(Texts),
  log_labels: Defaulted(Type.Unsafe<Readonly<Record<string, string>>>({ ...Texts, default: { job: "apisix" } })),
  ssl_verify: Defaulted(Type.Boolean({ default: false })),
  /** Milliseconds. */
  timeout: Defaulted(Type.Integer({ minimum: 1, maximum: 60_000, default: 3_000 })),
  /** These three are accepted and change nothing: each batch has a connection of its own. */
  keepalive: Defaulted(Type.Boolean({ default: true })),
  keepalive_timeout: Defaulted(Type.Integer({ minimum: 1_000, default: 60_000 })),
  keepalive_pool: Defaulted(Type.Integer({ minimum: 1, default: 5 })),
});

type Labels = Readonly<Record<string, string>>;

interface LokiEntry extends LogEntry {
  readonly labels: Labels;
  /** Nanoseconds since 1970, in decimal. */
  readonly time: string;
}

export const lokiLogger = definePlugin({
  name: "loki-logger",
  version: 0.1,
  priority: 414,
  explain: "run",
  schema,
  metadataSchema: logMetadata,
  encryptFields: ["headers"],
  check: loggerError,
  compile(conf, env) {
    const labels = Object.entries(conf.log_labels).map(
      ([name, text]) => [name, compileTemplate(text, { local: env.shown })] as const,
    );
    const headers = { ...conf.headers, "X-Scope-OrgID": conf.tenant_id, "Content-Type": "application/json" };
    return loggerPhases<LokiEntry>(conf, env, {
      plugin: "loki-logger",
      entryOf: (view, read) => ({
        text: JSON.stringify(read(view)),
        labels: Object.fromEntries(labels.map(([name, template]) => [name, template(view)])),
        time: `${Math.round(env.clock.nowMs() - env.clock.monotonicMs() + view.startedMs)}000000`,
      }),
      send(entries, signal) {
        const server = conf.endpoint_addrs[Math.floor(Math.random() * conf.endpoint_addrs.length)] ?? "";
        const body = JSON.stringify({ streams: streamsOf(entries) });
        const target = { url: server + conf.endpoint_uri, headers, body, timeoutMs: conf.timeout };
        return sendHttp(env, { ...target, verifyTls: conf.ssl_verify, badStatus: 300 }, signal);
      },
    });
  },
});

interface LokiStream {
  readonly stream: Labels;
  readonly values: [string, string][];
}

function streamsOf(entries: readonly LokiEntry[]): readonly LokiStream[] {
  const streams = new Map<string, LokiStream>();
  for (const { labels, text, time } of entries) {
    const key = canonicalText(labels);
    const stream = streams.get(key) ?? { stream: labels, values: [] };
    streams.set(key, stream);
    stream.values.push([time, text]);
  }
  return [...streams.values()];
}
