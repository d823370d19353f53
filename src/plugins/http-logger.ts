/**
 * http-logger: entries in batches to a server that takes JSON or lines. Source: APISIX 3.18 http-logger.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { sendHttp } from "./loggers/log-targets.ts";
import { jsonBatch, jsonEntry, loggerError, loggerPhases, loggerSchema, logMetadata } from "./loggers/logger-schema.ts";
import { HttpUri, Words } from "./shared/schema-parts.ts";

const schema = loggerSchema("http logger", {
  uri: HttpUri,
  auth_header: Type.Optional(Type.String()),
  /** Seconds. */
  timeout: Defaulted(Type.Integer({ minimum: 1, default: 3 })),
  concat_method: Defaulted(Words(["json", "new_line"], { default: "json" })),
  ssl_verify: Defaulted(Type.Boolean({ default: false })),
});

export const httpLogger = definePlugin({
  name: "http-logger",
  version: 0.1,
  priority: 410,
  explain: "run",
  schema,
  metadataSchema: logMetadata,
  encryptFields: ["auth_header"],
  check: loggerError,
  compile(conf, env) {
    const isJson = conf.concat_method === "json";
    const headers = {
      "Content-Type": isJson ? "application/json" : "text/plain",
      ...(conf.auth_header === undefined ? {} : { Authorization: conf.auth_header }),
    };
    const target = {
      url: conf.uri,
      headers,
      timeoutMs: conf.timeout * 1_000,
      verifyTls: conf.ssl_verify,
      badStatus: 400,
    };
    return loggerPhases(conf, env, {
      plugin: "http-logger",
      entryOf: jsonEntry,
      send(entries, signal) {
        const body = isJson ? jsonBatch(entries, conf) : entries.map(({ text }) => text).join("\n");
        return sendHttp(env, { ...target, body }, signal);
      },
    });
  },
});
