/**
 * limit-conn: so many requests under way at once, by a key; some more wait, the rest is refused.
 * Promise: whoever was let in is counted out exactly once, however the request ended.
 * Source: APISIX 3.18 limit-conn.
 */
import { type Static, Type } from "typebox";
import { sleep } from "../base/clock.ts";
import type { Admission } from "../plugin/counters.ts";
import { type CompileEnv, Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileLimitAnswers } from "./limits/limit-answers.ts";
import { compileLimitKey, compileNumber, compileRuleKey } from "./limits/limit-key.ts";
import { backendRules, POLICIES } from "./limits/limit-schema.ts";
import { nodeCounters } from "./limits/local-counters.ts";
import type { RedisConf } from "./limits/redis.ts";
import { openRedisCounters } from "./limits/redis-counters.ts";
import { unlessRunElsewhere } from "./limits/run-elsewhere.ts";
import { NumberOrTemplate, RejectedMessage, scopeOf, Words } from "./shared/schema-parts.ts";

const schema = Type.Object(
  {
    conn: Type.Optional(NumberOrTemplate(1)),
    burst: Type.Optional(NumberOrTemplate(0)),
    default_conn_delay: Type.Optional(Type.Number({ exclusiveMinimum: 0 })),
    only_use_default_delay: Defaulted(Type.Boolean({ default: false })),
    key: Type.Optional(Type.String()),
    key_type: Defaulted(Words(["var", "var_combination"], { default: "var" })),
    policy: Defaulted(Words(POLICIES, { default: "local" })),
    rejected_code: Defaulted(Type.Integer({ minimum: 200, maximum: 599, default: 503 })),
    rejected_msg: RejectedMessage,
    allow_degradation: Defaulted(Type.Boolean({ default: false })),
    rules: Type.Optional(
      Type.Array(Type.Object({ conn: NumberOrTemplate(1), burst: NumberOrTemplate(0), key: Type.String() })),
    ),
  },
  {
    oneOf: [
      { required: ["conn", "burst", "default_conn_delay", "key"] },
      { required: ["default_conn_delay", "rules"] },
    ],
    ...backendRules({ key_ttl: { type: "integer", default: 3600 } }),
  },
);
type Conf = Static<typeof schema>;

const LEAST_DELAY_MS = 1; // shorter waits are not worth a timer
/** Stands for the admissions of a request whose log phase has run: what is given to it now is left at once. */
const OVER = Symbol("over");

export const limitConn = definePlugin({
  name: "limit-conn",
  version: 0.1,
  priority: 1003,
  explain: { not: "it counts requests" },
  schema,
  encryptFields: ["redis_password"],
  compile(conf, env) {
    const scope = scopeOf("limit-conn", conf, env);
    const places = openCounters(conf, env).concurrency(scope);
    const answers = compileLimitAnswers("limit-conn", conf, undefined, env.log);
    const rules = compileRules(conf, env);
    const note = `limit-conn:${scope}`;
    const wait = compileWait(conf);

    const run = (view: RequestView, at: number, applied: number): Answer | undefined | Promise<Answer | undefined> => {
      let count = applied;
      for (let index = at; index < rules.length; index++) {
        const rule = rules[index] as CompiledRule;
        const key = rule.keyOf(view);
        const most = rule.connOf(view);
        const burst = rule.burstOf(view);
        if (key === undefined || most === undefined || burst === undefined) continue;
        count++;
        const entered = places.enter(key, most + burst);
        if (!(entered instanceof Promise)) {
          if (!entered) return answers.rejected;
          keep(view, note, entered);
          const delayMs = wait.delayMs(entered.count, most);
          if (delayMs < LEAST_DELAY_MS) continue;
          return sleep(env.clock, delayMs).then(() => goOn(view, index + 1, count));
        }
        return entered.then(
          async (admission) => {
            if (!admission) return answers.rejected;
            keep(view, note, admission);
            const delayMs = wait.delayMs(admission.count, most);
            if (delayMs >= LEAST_DELAY_MS) await sleep(env.clock, delayMs);
            return goOn(view, index + 1, count);
          },
          (error: unknown) => answers.failed(error),
        );
      }
      return count === 0 ? answers.unreadable() : undefined;
    };
    /** After a wait: a client that went away meanwhile enters nothing more, as nobody would leave it. */
    const goOn = (view: RequestView, at: number, applied: number) =>
      view.note(note) === OVER ? undefined : run(view, at, applied);
    return {
      access: unlessRunElsewhere(
        "limit-conn",
        env,
        afterBody(conf, (view) => run(view, 0, 0)),
      ),
      log(view) {
        const admissions = view.note(note);
        view.setNote(note, OVER);
        if (!Array.isArray(admissions)) return;
        // True: `keep` put them there.
        for (const admission of admissions as Admission[]) admission.leave();
        wait.learn(latencyMs(view, env.clock.monotonicMs()));
      },
      close: () => places.release(),
    };
  },
});

function openCounters(conf: Conf, env: CompileEnv) {
  if (conf.policy === "local") return nodeCounters(env);
  // True: the schema requires the members of the chosen policy, and gives key_ttl its default.
  const redis = conf as RedisConf & { readonly key_ttl?: number };
  return openRedisCounters(redis, env, redis.key_ttl);
}

function keep(view: RequestView, note: string, admission: Admission): void {
  const before = view.note(note);
  if (before === OVER) admission.leave();
  else if (Array.isArray(before)) before.push(admission);
  else view.setNote(note, [admission]);
}

/** What the upstream took, or all of it where none was asked. */
function latencyMs(view: RequestView, nowMs: number): number {
  const { sentMs, endMs, headMs } = view.upstream;
  return sentMs > 0 ? (endMs || headMs || nowMs) - sentMs : nowMs - view.startedMs;
}

/** How long those above the limit wait: a multiple of what requests take, as far as known. */
function compileWait(conf: Conf) {
  let unitMs = (conf.default_conn_delay ?? 0) * 1000;
  return {
    delayMs: (count: number, most: number): number => (count > most ? unitMs * Math.floor((count - 1) / most) : 0),
    learn(latencyMs: number): void {
      if (!conf.only_use_default_delay) unitMs = (latencyMs + unitMs) / 2;
    },
  };
}

interface CompiledRule {
  keyOf(view: RequestView): string | undefined;
  connOf(view: RequestView): number | undefined;
  burstOf(view: RequestView): number | undefined;
}

function compileRules(conf: Conf, { clock }: CompileEnv): readonly CompiledRule[] {
  const numbers = (conn: number | string, burst: number | string) => ({
    connOf: compileNumber(conn, 1, clock),
    burstOf: compileNumber(burst, 0, clock),
  });
  if (conf.rules)
    return conf.rules.map((rule, at) => {
      const keyOf = compileRuleKey(rule.key, clock);
      return {
        ...numbers(rule.conn, rule.burst),
        keyOf(view) {
          const key = keyOf(view);
          return key === undefined ? undefined : `${at}:${key}`;
        },
      };
    });
  // The schema requires these members where there are no rules.
  const keyOf = compileLimitKey({ key: conf.key ?? "remote_addr", keyType: conf.key_type }, clock);
  return [{ ...numbers(conf.conn ?? 1, conf.burst ?? 0), keyOf }];
}
