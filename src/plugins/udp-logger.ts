/**
 * udp-logger: entries in batches to a UDP server, as JSON. A batch that no datagram holds goes in several.
 * Source: APISIX 3.18 udp-logger.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { sendDatagrams } from "./loggers/log-targets.ts";
import { jsonBatch, jsonEntry, loggerError, loggerPhases, loggerSchema, logMetadata } from "./loggers/logger-schema.ts";

const schema = loggerSchema("udp logger", {
  host: Type.String({ minLength: 1 }),
  port: Type.Integer({ minimum: 0, maximum: 65_535 }),
  /** Nothing is waited for. */
  timeout: Defaulted(Type.Integer({ minimum: 1, default: 3 })),
});

export const udpLogger = definePlugin({
  name: "udp-logger",
  version: 0.1,
  priority: 400,
  explain: "run",
  schema,
  metadataSchema: logMetadata,
  check: loggerError,
  compile: (conf, env) =>
    loggerPhases(conf, env, {
      plugin: "udp-logger",
      entryOf: jsonEntry,
      send: (entries) => sendDatagrams(conf.host, conf.port, entries, (some) => jsonBatch(some, conf)),
    }),
});
