/**
 * syslog: entries in batches to a syslog server, as messages of RFC 5424 whose text is JSON. Source: APISIX 3.18 syslog.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { LogEntry } from "./loggers/log-batches.ts";
import { sendDatagrams, sendTcp } from "./loggers/log-targets.ts";
import { loggerError, loggerPhases, loggerSchema, logMetadata } from "./loggers/logger-schema.ts";
import { Words } from "./shared/schema-parts.ts";

const schema = loggerSchema("sys logger", {
  host: Type.String({ minLength: 1 }),
  port: Type.Integer({ minimum: 0, maximum: 65_535 }),
  /** Batches are flushed by `batch_max_size` and time; these three are accepted and change nothing. */
  flush_limit: Defaulted(Type.Integer({ minimum: 1, default: 4_096 })),
  drop_limit: Defaulted(Type.Integer({ default: 1_048_576 })),
  pool_size: Defaulted(Type.Integer({ minimum: 5, default: 5 })),
  /** Milliseconds. */
  timeout: Defaulted(Type.Integer({ minimum: 1, default: 3_000 })),
  sock_type: Defaulted(Words(["tcp", "udp"], { default: "tcp" })),
  tls: Defaulted(Type.Boolean({ default: false })),
});

/** Facility syslog, severity info. */
const HEAD = "<46>1";
const textOf = (entries: readonly LogEntry[]): string => entries.map(({ text }) => text).join("");

export const syslog = definePlugin({
  name: "syslog",
  version: 0.1,
  priority: 401,
  explain: "run",
  schema,
  metadataSchema: logMetadata,
  check: loggerError,
  compile(conf, env) {
    const { host, port, timeout: timeoutMs, tls } = conf;
    return loggerPhases(conf, env, {
      plugin: "syslog",
      entryOf(view, read) {
        const time = new Date(env.clock.nowMs()).toISOString();
        const from = view.host === "" ? "-" : view.host;
        return { text: `${HEAD} ${time} ${from} apisix ${process.pid} - - ${JSON.stringify(read(view))}\n` };
      },
      send: (entries, signal) =>
        conf.sock_type === "udp"
          ? sendDatagrams(host, port, entries, textOf)
          : sendTcp(env, { host, port, timeoutMs, tls }, textOf(entries), signal),
    });
  },
});
