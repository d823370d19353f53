/**
 * tcp-logger: entries in batches to a TCP server, as JSON, a connection for each batch. Source: APISIX 3.18 tcp-logger.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { sendTcp } from "./loggers/log-targets.ts";
import { jsonBatch, jsonEntry, loggerError, loggerPhases, loggerSchema, logMetadata } from "./loggers/logger-schema.ts";

const schema = loggerSchema("tcp logger", {
  host: Type.String({ minLength: 1 }),
  port: Type.Integer({ minimum: 0, maximum: 65_535 }),
  tls: Defaulted(Type.Boolean({ default: false })),
  /** Server name of the handshake. */
  tls_options: Type.Optional(Type.String()),
  /** Milliseconds. */
  timeout: Defaulted(Type.Integer({ minimum: 1, default: 1_000 })),
});

export const tcpLogger = definePlugin({
  name: "tcp-logger",
  version: 0.1,
  priority: 405,
  explain: "run",
  schema,
  metadataSchema: logMetadata,
  check: loggerError,
  compile(conf, env) {
    const { host, port, timeout: timeoutMs, tls, tls_options: serverName } = conf;
    const target = { host, port, timeoutMs, tls, serverName };
    return loggerPhases(conf, env, {
      plugin: "tcp-logger",
      entryOf: jsonEntry,
      send: (entries, signal) => sendTcp(env, target, jsonBatch(entries, conf), signal),
    });
  },
});
