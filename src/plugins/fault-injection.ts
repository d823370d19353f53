/**
 * fault-injection: delays requests or answers them with a fault, some of them or those that match.
 * Runs before authentication. Source: docs/spec/plugins.md section 10, APISIX 3.18.
 */
import { type Static, Type } from "typebox";
import { type Clock, sleep } from "../base/clock.ts";
import { checkExpression } from "../model/expression.ts";
import { definePlugin } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileCondition } from "../plugin/variables/condition.ts";
import { HeaderMap } from "./shared/schema-parts.ts";
import { compileTemplatedAnswer } from "./shared/templated-answer.ts";

const when = {
  percentage: Type.Optional(Type.Integer({ minimum: 0, maximum: 100 })),
  vars: Type.Optional(Type.Array(Type.Unsafe<readonly unknown[]>({ type: "array" }), { maxItems: 20 })),
};

const schema = Type.Object(
  {
    abort: Type.Optional(
      Type.Object({
        http_status: Type.Integer({ minimum: 200 }),
        body: Type.Optional(Type.String({ minLength: 0 })),
        headers: Type.Optional(HeaderMap),
        ...when,
      }),
    ),
    delay: Type.Optional(Type.Object({ duration: Type.Number({ minimum: 0 }), ...when })),
  },
  { minProperties: 1 },
);
type Conf = Static<typeof schema>;
type When = Pick<NonNullable<Conf["delay"]>, "percentage" | "vars">;

export const faultInjection = definePlugin({
  name: "fault-injection",
  version: 0.1,
  priority: 11_000,
  explain: { not: "it delays and refuses by chance" },
  schema,
  check: (conf) =>
    [...(conf.abort?.vars ?? []), ...(conf.delay?.vars ?? [])]
      .map(checkExpression)
      .find((error) => error !== undefined),
  compile(conf, env) {
    const delay = conf.delay && compileWhen(conf.delay, env.clock);
    const abort = conf.abort && compileWhen(conf.abort, env.clock);
    const abortAnswer = conf.abort && compileAbort(conf.abort);
    const delayMs = (conf.delay?.duration ?? 0) * 1000;

    const run = (view: RequestView): Answer | undefined | Promise<Answer | undefined> => {
      const answers = abort?.test(view) === true;
      if (delay?.test(view) !== true) return answers ? abortAnswer?.(view) : undefined;
      return sleep(env.clock, delayMs).then(() => (answers ? abortAnswer?.(view) : undefined));
    };
    return { rewrite: afterBody(conf, run) };
  },
});

function compileAbort(abort: NonNullable<Conf["abort"]>): (view: RequestView) => Answer {
  return compileTemplatedAnswer(
    { status: abort.http_status, headers: Object.entries(abort.headers ?? {}), body: abort.body },
    "fault_injected",
  );
}

/** All of it must hold: one of the expressions, and the draw of the percentage. */
function compileWhen(conf: When, clock: Clock) {
  const conditions = conf.vars?.map((vars) => compileCondition(vars, clock));
  const share = (conf.percentage ?? 100) / 100;
  return {
    test: (view: RequestView): boolean =>
      (conditions?.some((condition) => condition.test(view)) ?? true) && (share === 1 || Math.random() < share),
  };
}
