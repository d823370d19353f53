/**
 * What the primary and its workers say to each other. Revisions travel as digits, lists and texts are bounded, and
 * whatever does not fit is dropped on arrival (src/base/channel.ts).
 */
import { type Static, type TSchema, type TUnsafe, Type } from "typebox";
import { type Call, reader, type Tell } from "../../base/channel.ts";
import { REFUSALS_MAX, type RecentRefusal, type RefusalQuery } from "../../gateway/log/refusals.ts";
import type { ExplainQuery } from "../../model/explain-query.ts";
import type { Use } from "../../model/usage.ts";
import type { HealthReport } from "../../status/control-server.ts";

function tell<S extends TSchema>(name: string, body: S): Tell<Static<S>> {
  return { name, body: reader(body) };
}

function call<S extends TSchema, R extends TSchema>(name: string, body: S, reply: R): Call<Static<S>, Static<R>> {
  return { name, body: reader(body), reply: reader(reply) };
}

function words<const Words extends readonly string[]>(list: Words): TUnsafe<Words[number]> {
  return Type.Unsafe<Words[number]>({ type: "string", enum: [...list] });
}

const Digits = Type.String({ pattern: "^\\d{1,19}$" });
const Address = Type.Object({ host: Type.String({ maxLength: 256 }), port: Type.Integer({ minimum: 0 }) });
const Nothing = Type.Null();
const Numbers = Type.Record(Type.String({ maxLength: 64 }), Type.Number());

/** A new worker introduces itself and learns what it is to do. */
export const BEGIN = call(
  "begin",
  Type.Object({ version: Type.String({ maxLength: 64 }) }),
  // The settings hold secrets: they go this way and not by arguments or environment.
  Type.Object({ settings: Type.Unknown(), folder: Type.String(), store: Type.String() }),
);

/** A worker asks whether it may open its listeners. The answer is null, or the revision to apply before asking again. */
export const MAY_LISTEN = call(
  "may-listen",
  Type.Object({ loaded: Type.Boolean(), connected: Type.Boolean(), applied: Digits }),
  Type.Union([Nothing, Type.Object({ wait: Digits })]),
);

export const LISTENING = tell(
  "listening",
  Type.Object({ plain: Type.Union([Nothing, Address]), tls: Type.Union([Nothing, Address]) }),
);

/** Why a worker could not start; it ends then. */
export const FAILED = tell(
  "failed",
  Type.Object({
    message: Type.String({ maxLength: 10_000 }),
    code: Type.Optional(Type.String({ maxLength: 64 })),
    address: Type.Optional(Type.String({ maxLength: 256 })),
    port: Type.Optional(Type.Integer()),
  }),
);

/** Sent soon after each change; the hash is of the configuration at that revision, "" before there is one. */
export const APPLIED = tell("applied", Type.Object({ revision: Digits, hash: Type.String({ maxLength: 64 }) }));

const Problem = Type.Object({
  key: Type.String({ maxLength: 2_048 }),
  kind: Type.String({ maxLength: 64 }),
  revision: Digits,
  reason: Type.String({ maxLength: 1_024 }),
  blocks: Type.Boolean(),
});
/** Problems beyond these are in the log only. */
export const PROBLEMS_MAX = 10_000;

export type WireStatus = Static<typeof WireStatus>;
const WireStatus = Type.Object({
  loaded: Type.Boolean(),
  connected: Type.Boolean(),
  fresh: Type.Boolean(),
  stalenessSeconds: Type.Number(),
  applied: Digits,
  head: Digits,
  reachable: Type.Boolean(),
  problem: Type.Union([Nothing, Type.Object({ code: Type.String(), text: Type.String(), sinceMs: Type.Number() })]),
  records: Type.Integer(),
  epochs: Numbers,
  lists: Numbers,
  auditDifferences: Type.Integer(),
  beat: Type.Union([Nothing, Type.Object({ writtenMs: Type.Number(), receivedMs: Type.Number() })]),
  changedAtMs: Type.Union([Nothing, Type.Number()]),
  hash: Type.String({ maxLength: 128 }),
  /** null: the same as last time. */
  problems: Type.Union([Nothing, Type.Array(Problem, { maxItems: PROBLEMS_MAX })]),
});
/** Sent every second; a worker that falls silent is not well. */
export const FACTS = tell("facts", WireStatus);

const Labels = Type.String({ maxLength: 65_536 });
const Page = Type.Object({
  name: Type.String({ pattern: "^[a-zA-Z_:][a-zA-Z0-9_:]{0,127}$" }),
  help: Type.String({ maxLength: 1_024 }),
  type: words(["counter", "gauge", "histogram", "summary"]),
  merge: words(["sum", "first", "average", "min", "max"]),
  counted: Type.Boolean(),
  sample: Type.String({ maxLength: 160 }),
  bounds: Type.Array(Type.Number(), { maxItems: 1_000 }),
  keys: Type.Array(Labels, { maxItems: 10_000 }),
  values: Type.Array(Type.Number(), { maxItems: 100_000 }),
});
export type MetricsPage = Static<typeof MetricsPage>;
const MetricsPage = Type.Object({ reading: Type.Integer(), page: Type.Union([Nothing, Page]) });
/** The next page of a reading; 0 begins one. A page of null is its end. */
export const METRICS = call("metrics", Type.Object({ reading: Type.Integer({ minimum: 0 }) }), MetricsPage);

const Health = Type.Unsafe<readonly HealthReport[]>({
  type: "array",
  maxItems: 100_000,
  items: Type.Object({
    name: Type.String(),
    type: words(["http", "https", "tcp"]),
    nodes: Type.Array(
      Type.Object({
        ip: Type.String(),
        port: Type.Integer(),
        hostname: Type.Optional(Type.String()),
        status: words(["healthy", "mostly_healthy", "mostly_unhealthy", "unhealthy"]),
        counter: Type.Object({
          success: Type.Integer(),
          http_failure: Type.Integer(),
          tcp_failure: Type.Integer(),
          timeout_failure: Type.Integer(),
        }),
      }),
    ),
  }),
});
/** The health checkers that have seen a request, as the Control API lists them. */
export const HEALTH = call("health", Nothing, Health);

const Asked = Type.Optional(Type.String({ maxLength: 256 }));
const Query = Type.Unsafe<RefusalQuery>(Type.Object({ request_id: Asked, consumer: Asked, reason: Asked }));
const RefusedCalls = Type.Unsafe<readonly RecentRefusal[]>({
  type: "array",
  maxItems: REFUSALS_MAX,
  items: Type.Object({ time: Type.Number(), client: Type.String(), status: Type.Integer(), reason: Type.String() }),
});
/** The calls that a worker refused last. */
export const REFUSALS = call("refusals", Query, RefusedCalls);

/** The newest certificates that a worker did not take, once it knows the values that they refer to, or after a bounded time. */
export const CERTIFICATES = call(
  "certificates",
  Nothing,
  Type.Array(Type.Object({ key: Type.String(), revision: Digits, reason: Type.String() }), { maxItems: 1_000 }),
);

/** What the worker would do with a request; both sides check and bound what they read of it. */
export const EXPLAIN = call(
  "explain",
  Type.Unsafe<ExplainQuery>(Type.Object({})),
  Type.Union([Type.String(), Type.Unsafe<Readonly<Record<string, unknown>>>(Type.Object({}))]),
);

export const USES_TOLD_MAX = 10_000;
const Uses = Type.Unsafe<readonly Use[]>({
  type: "array",
  maxItems: USES_TOLD_MAX,
  items: Type.Object({
    name: Type.String({ maxLength: 1_024 }),
    ...{ created: Type.Integer({ minimum: 0 }), hour: Type.Integer({ minimum: 0 }) },
  }),
});
/** What was used for the first time in an hour, within the last second. */
export const USED = tell("used", Uses);

/** From now on answers ask clients to connect anew. */
export const DRAIN = tell("drain", Nothing);

/** Its listeners end; the last worker takes what has come to them. */
export const STOP_ACCEPTING = call("stop-accepting", Type.Object({ isLast: Type.Boolean() }), Nothing);

const Milliseconds = Type.Number({ minimum: 0 });
/** Stop accepting, finish what runs; answered when all is done. */
export const STOP = call("stop", Type.Object({ drainMs: Milliseconds, quietMs: Type.Optional(Milliseconds) }), Nothing);
