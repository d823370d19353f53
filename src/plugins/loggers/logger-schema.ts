/**
 * Fields that all loggers have, and the phases made of them. Source: APISIX 3.18 log-util and batch-processor-manager.
 */
import { type Static, type TProperties, Type } from "typebox";
import { checkExpression } from "../../model/expression.ts";
import { type CompileEnv, Defaulted, type PluginPhases } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { confHash } from "../shared/schema-parts.ts";
import { type BatchRules, LogBatches, type LogEntry } from "./log-batches.ts";
import { compileEntry, type ReadEntry, requestPhases } from "./log-fields.ts";
import { responsePhases } from "./logged-response.ts";

/** Member → `$variable`, a fixed value, or members again. */
export type LogFormat = Readonly<Record<string, unknown>>;

const LogFormat = Type.Unsafe<LogFormat>({ type: "object" });
const Condition = Type.Optional(
  Type.Unsafe<readonly unknown[]>({ type: "array", minItems: 1, items: { type: "array" } }),
);
const BODY_BYTES = 524_288;
const atLeast = (minimum: number, normal: number) => Defaulted(Type.Integer({ minimum, default: normal }));

export const logFields = {
  log_format: Type.Optional(LogFormat),
  log_format_extra: Type.Optional(LogFormat),
  include_req_body: Defaulted(Type.Boolean({ default: false })),
  include_req_body_expr: Condition,
  include_resp_body: Defaulted(Type.Boolean({ default: false })),
  include_resp_body_expr: Condition,
  max_req_body_bytes: atLeast(1, BODY_BYTES),
  max_resp_body_bytes: atLeast(1, BODY_BYTES),
};

const PENDING_MAX = 8_192;

export const logMetadata = Type.Object({
  log_format: Type.Optional(LogFormat),
  log_format_extra: Type.Optional(LogFormat),
  max_pending_entries: atLeast(1, PENDING_MAX),
});

/** The schema of a logger that sends batches. @param name default of its `name` */
export function loggerSchema<P extends TProperties>(name: string, own: P) {
  return Type.Object({
    ...own,
    ...logFields,
    name: Defaulted(Type.String({ default: name })),
    batch_max_size: atLeast(1, 1_000),
    inactive_timeout: atLeast(1, 5),
    buffer_duration: atLeast(1, 60),
    max_retry_count: atLeast(0, 0),
    retry_delay: atLeast(0, 1),
  });
}

const logSchema = Type.Object(logFields);
export type LogConf = Static<typeof logSchema>;
type LoggerConf = LogConf & BatchRules;

/** What the schema cannot say. */
export function loggerError(conf: LogConf): string | undefined {
  for (const name of ["include_req_body_expr", "include_resp_body_expr"] as const) {
    const error = conf[name] && checkExpression(conf[name]);
    if (error !== undefined) return `failed to validate the '${name}' expression: ${error}`;
  }
  return undefined;
}

interface LoggerParts<Entry extends LogEntry> {
  readonly plugin: string;
  entryOf(view: RequestView, read: ReadEntry): Entry;
  readonly send: (entries: readonly Entry[], signal: AbortSignal) => Promise<void>;
}

/** The phases of a logger that sends batches. What waits outlives a change of other records. */
export function loggerPhases<Entry extends LogEntry>(
  conf: LoggerConf,
  env: CompileEnv,
  { entryOf, plugin, send }: LoggerParts<Entry>,
): PluginPhases {
  const read = compileEntry(plugin, conf, env);
  // True: metadata was checked against logMetadata, with defaults filled.
  const { max_pending_entries: pendingMax = PENDING_MAX } = (env.metadata(plugin) ?? {}) as Static<typeof logMetadata>;
  const { kind, id } = env.resource;
  const { state: batches, release } = env.states.hold(
    `logger:${plugin}:${kind}/${id}:${confHash({ ...conf, pendingMax })}`,
    () => new LogBatches<Entry>({ plugin, rules: conf, pendingMax, send }, env),
    (held) => held.close(),
  );
  const response = responsePhases(conf, env);
  return {
    ...requestPhases(conf, env),
    ...response,
    log: (view) => batches.push(entryOf(view, read)),
    close() {
      release();
      response.close?.();
    },
  };
}

/** The entry as one line of JSON. */
export const jsonEntry = (view: RequestView, read: ReadEntry): LogEntry => ({ text: JSON.stringify(read(view)) });

/** One entry stands alone where batches have one entry, else all are a list. */
export function jsonBatch(entries: readonly LogEntry[], { batch_max_size: most }: BatchRules): string {
  const texts = entries.map(({ text }) => text);
  return most === 1 ? (texts[0] ?? "") : `[${texts.join(",")}]`;
}
