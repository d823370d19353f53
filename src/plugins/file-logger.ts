/**
 * file-logger: one line of JSON for each request, appended to a file of the gateway.
 * Promise: traffic never waits; what a slow disk does not take and a full one refuses is counted; a file that is no log is never
 * written to, as whoever may write records is not thereby master of the machine. Source: APISIX 3.18 file-logger.
 */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { type Static, Type } from "typebox";
import { LineSink } from "../base/line-sink.ts";
import { openLimitedWarn } from "../base/log.ts";
import { checkExpression } from "../model/expression.ts";
import { type CompileEnv, definePlugin, type NodeEnv } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { compileCondition } from "../plugin/variables/condition.ts";
import { compileEntry, requestPhases } from "./loggers/log-fields.ts";
import { responsePhases } from "./loggers/logged-response.ts";
import { logFields, loggerError } from "./loggers/logger-schema.ts";

const LogPath = Type.Optional(
  Type.String({ minLength: 1, description: "The file; its name ends in .log, .txt, .jsonl or .ndjson." }),
);

const schema = Type.Object({
  path: LogPath,
  ...logFields,
  match: Type.Optional(
    Type.Unsafe<readonly (readonly unknown[])[]>({
      type: "array",
      maxItems: 20,
      items: { type: "array" },
      description: "Expressions; only requests for which one of them holds are logged.",
    }),
  ),
});

const metadataSchema = Type.Object({
  path: LogPath,
  log_format: logFields.log_format,
  log_format_extra: logFields.log_format_extra,
});

export const fileLogger = definePlugin({
  name: "file-logger",
  version: 0.1,
  priority: 399,
  explain: "run",
  schema,
  metadataSchema,
  check: (conf) =>
    loggerError(conf) ?? matchError(conf.match) ?? (conf.path === undefined ? undefined : pathError(conf.path)),
  compile(conf, env) {
    const read = compileEntry("file-logger", conf, env);
    const matches = compileMatch(conf.match, env);
    const sink = holdSink(conf.path, env);
    const response = responsePhases(conf, env);
    return {
      ...requestPhases(conf, env),
      ...response,
      log(view) {
        if (matches(view)) sink.write(JSON.stringify(read(view)));
      },
      close() {
        sink.release();
        response.close?.();
      },
    };
  },
});

function matchError(match: Static<typeof schema>["match"]): string | undefined {
  for (const expression of match ?? []) {
    const error = checkExpression(expression);
    if (error !== undefined) return `failed to validate the 'match' expression: ${error}`;
  }
  return undefined;
}

/** One of them is enough. */
function compileMatch(match: Static<typeof schema>["match"], env: NodeEnv): (view: RequestView) => boolean {
  if (match === undefined) return () => true;
  const conditions = match.map((expression) => compileCondition(expression, env.clock));
  return (view) => conditions.some((condition) => condition.test(view));
}

const STANDARD: Readonly<Record<string, string>> = { "/dev/stdout": "stdout", "/dev/stderr": "/dev/stderr" };
const LOG_NAME = /[^/]\.(?:log|txt|jsonl|ndjson)$/;

function pathError(path: string): string | undefined {
  if (Object.hasOwn(STANDARD, path)) return undefined;
  if (path.includes("\0") || !LOG_NAME.test(path))
    return "path: a log's name ends in .log, .txt, .jsonl or .ndjson, or is /dev/stdout or /dev/stderr";
  return undefined;
}

interface HeldSink {
  write(line: string): void;
  release(): void;
}

/** All configurations with one path share its file. */
function holdSink(own: string | undefined, env: CompileEnv): HeldSink {
  const metadata = (env.metadata("file-logger") ?? {}) as Static<typeof metadataSchema>; // true: it was checked
  const path = own ?? metadata.path;
  const lines = env.metrics.counter(
    "jotgate_file_logger_lines_total",
    "Lines of file-logger, by what became of them.",
    ["result"],
  );
  const why =
    path === undefined ? 'property "path" is not set in either the plugin conf or the metadata' : pathError(path);
  if (path === undefined || why !== undefined) {
    const warn = openLimitedWarn(env.log, env.clock);
    const failed = lines.child("failed");
    return {
      write() {
        failed.inc();
        warn({ plugin: "file-logger", error: why }, "log entries cannot be written");
      },
      release: () => undefined,
    };
  }
  const { state, release } = env.states.hold(
    `file-logger:${path}`,
    () =>
      new LineSink({
        ...{ name: `file-logger ${path}`, target: STANDARD[path] ?? path, clock: env.clock, log: env.log, lines },
        ...{ isEager: true, isPatient: true, refuse: STANDARD[path] === undefined ? notALog : async () => undefined },
      }),
    (sink) => sink.close(),
  );
  return { write: (line) => state.write(line), release };
}

const OPENING_BRACE = 0x7b;
const READ_FLAGS = constants.O_RDONLY | constants.O_NONBLOCK;

/** A file with something in it must hold lines of JSON, as this plugin writes them. */
async function notALog(path: string): Promise<string | undefined> {
  const file = await open(path, READ_FLAGS).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const facts = await file.stat();
    if (!facts.isFile()) return "not a regular file";
    const { buffer, bytesRead } = await file.read(Buffer.alloc(1), 0, 1, 0);
    return bytesRead === 0 || buffer[0] === OPENING_BRACE ? undefined : "the file holds something else than log lines";
  } finally {
    await file.close();
  }
}
