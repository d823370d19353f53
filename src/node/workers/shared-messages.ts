/**
 * What workers ask of the parts that a node has once: counters of limits, and health checks.
 */
import { type Static, Type } from "typebox";
import { type Call, reader, type Tell } from "../../base/channel.ts";
import type { ProbeConf } from "../../runtime/upstream/health/health-conf.ts";
import type { ProbeOutcome, ProbeTarget } from "../../runtime/upstream/health/node-health.ts";

const Text = Type.String({ maxLength: 65_536 }); // a key may be a header value
const Count = Type.Number({ minimum: 0 });

/** A fixed window: so many hits are needed now, some more may be given in advance. */
const Lease = Type.Object({
  op: Type.Literal("lease"),
  scope: Text,
  key: Text,
  limit: Count,
  windowMs: Count,
  need: Count,
});
const Slide = Type.Object({
  op: Type.Literal("slide"),
  scope: Text,
  key: Text,
  limit: Count,
  windowMs: Count,
  cost: Count,
});
const Pour = Type.Object({ op: Type.Literal("pour"), scope: Text, key: Text, perSecond: Count, burst: Count });
/** One more request under way; it leaves under the id it entered with. */
const Enter = Type.Object({ op: Type.Literal("enter"), scope: Text, key: Text, most: Count, id: Count });
const Leave = Type.Object({ op: Type.Literal("leave"), id: Count });

export type CounterOp = Static<typeof CounterOp>;
const CounterOp = Type.Union([Lease, Slide, Pour, Enter, Leave]);

/** Answer to `lease`. */
export type GrantedUses = Static<typeof GrantedUses>;
const GrantedUses = Type.Object({
  /** What was needed or, where there is less, that; and perhaps some more. */
  granted: Count,
  /** What is left beyond that, for all. */
  free: Count,
  resetMs: Type.Number(),
});
export const readGranted = reader(GrantedUses);
/** Answer to `slide`. */
export const readUse = reader(Type.Object({ allowed: Type.Boolean(), remaining: Count, resetMs: Type.Number() }));
/** Answer to `pour`. */
export const readPoured = reader(Type.Object({ allowed: Type.Boolean(), delayMs: Type.Number() }));
/** Answer to `enter`; null: refused. */
export const readEntered = reader(Type.Union([Type.Null(), Type.Object({ count: Count })]));
/** Answer to `leave`. */
export const readNothing = reader(Type.Null());

/** Asked together, answered together, in the same order. */
export const OPS_MAX = 512;
export const COUNT: Call<readonly CounterOp[], readonly unknown[]> = {
  name: "count",
  body: reader(Type.Array(CounterOp, { maxItems: OPS_MAX })),
  reply: reader(Type.Array(Type.Unknown(), { maxItems: OPS_MAX })),
};

/** The primary wants back what was given in advance and not used. */
export const RECALL: Call<{ readonly scope: string; readonly key: string }, { readonly left: number }> = {
  name: "recall",
  body: reader(Type.Object({ scope: Text, key: Text })),
  reply: reader(Type.Object({ left: Count })),
};

/** Nobody in this worker uses the scope any more. */
export const RELEASE: Tell<{ readonly scope: string }> = {
  name: "release",
  body: reader(Type.Object({ scope: Text })),
};

/** What workers tell each other by way of the primary: so many sayings at a time. */
export const MESSAGES_MAX = 10_000;
export type TopicMessage = Static<typeof TopicMessage>;
const TopicMessage = Type.Object({ topic: Text, message: Type.Unknown() });
const TopicMessages = reader(Type.Array(TopicMessage, { maxItems: MESSAGES_MAX }));
export const BROADCAST: Tell<readonly TopicMessage[]> = { name: "broadcast", body: TopicMessages };
export const RELAYED: Tell<readonly TopicMessage[]> = { name: "relayed", body: TopicMessages };

const Pem = Type.Optional(Type.String({ maxLength: 262_144 }));
const ProbedTarget = Type.Object({
  address: Text,
  port: Type.Integer(),
  host: Text,
  tls: Type.Optional(Type.Object({ verify: Type.Boolean(), cert: Pem, key: Pem })),
});
const Conf = Type.Object({
  type: Type.Unsafe<ProbeConf["type"]>({ type: "string", enum: ["http", "https", "tcp"] }),
  http2: Type.Optional(Type.Boolean()),
  timeoutMs: Count,
  method: Text,
  path: Text,
  body: Type.String({ maxLength: 1_048_576 }),
  headers: Type.Array(Text, { maxItems: 1_000 }),
  host: Type.Optional(Text),
  port: Type.Optional(Type.Integer()),
  verify: Type.Boolean(),
});
const Outcome = Type.Union([
  Type.Object({ kind: Type.Literal("status"), status: Type.Integer() }),
  Type.Object({
    kind: Type.Unsafe<"connected" | "refused" | "timeout">({ enum: ["connected", "refused", "timeout"] }),
  }),
]);

/** One probe, or the outcome of one just made for another worker. */
export const PROBE: Call<{ readonly target: ProbeTarget; readonly conf: ProbeConf }, ProbeOutcome> = {
  name: "probe",
  // True: absent members, which the schema allows, are what those types call undefined.
  body: reader(Type.Object({ target: ProbedTarget, conf: Conf })) as never,
  reply: reader(Outcome) as never,
};
