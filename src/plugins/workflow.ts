/**
 * workflow: the first rule whose case holds acts on the request: it answers, or counts it with a limit of its own.
 * Promise: rules are compiled with the configuration and count apart; the limit that a rule has run does not run a second time
 * for that request. Source: APISIX 3.18 workflow.
 */
import { type Static, Type } from "typebox";
import { compileSchema } from "../base/schema/schema.ts";
import { withDefaults } from "../base/schema/schema-defaults.ts";
import { checkExpression } from "../model/expression.ts";
import { type CompileEnv, definePlugin, type FindPlugin, type PluginPhases } from "../plugin/plugin.ts";
import { jsonAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileCondition } from "../plugin/variables/condition.ts";
import { markRunElsewhere } from "./limits/run-elsewhere.ts";
import { scopeOf } from "./shared/schema-parts.ts";

type Action = readonly [string, unknown?];

const schema = Type.Object({
  rules: Type.Array(
    Type.Object({
      case: Type.Optional(
        Type.Unsafe<readonly unknown[]>({
          type: "array",
          items: { anyOf: [{ type: "array" }, { type: "string" }] },
          minItems: 1,
        }),
      ),
      actions: Type.Array(Type.Unsafe<Action>({ type: "array", minItems: 1 })),
    }),
  ),
});
type Conf = Static<typeof schema>;
type WorkflowRule = Conf["rules"][number];

/** The limits that may be an action; `return` is ours. */
const LIMITS: ReadonlySet<string> = new Set(["limit-conn", "limit-count"]);

const Returned = Type.Object({ code: Type.Integer({ minimum: 100, maximum: 599 }) });

export const workflow = definePlugin({
  name: "workflow",
  version: 0.1,
  priority: 1006,
  explain: { not: "its actions count requests" },
  schema,
  encryptFields: ["rules.actions.redis_password", "rules.actions.sentinel_password"],
  check(conf, find) {
    for (const [at, rule] of conf.rules.entries()) {
      const error = ruleError(rule, at + 1, find);
      if (error !== undefined) return error;
    }
    return undefined;
  },
  compile(conf, env) {
    const rules = conf.rules.map((rule, at) => compileRule(rule, at, env));
    const note = scopeOf("workflow", conf, env);
    const chosen = (view: RequestView) => view.note(note) as PluginPhases | undefined; // set below, by nobody else
    return {
      access: afterBody(conf, (view) => {
        const rule = rules.find(({ holds }) => holds(view));
        if (!rule) return undefined;
        view.setNote(note, rule.phases);
        const result = rule.phases.access?.(view);
        markRunElsewhere(view, rule.action);
        return result;
      }),
      headerFilter: (view, response) => chosen(view)?.headerFilter?.(view, response),
      log: (view) => chosen(view)?.log?.(view),
      close() {
        for (const { phases } of rules) phases.close?.();
      },
    };
  },
});

interface CompiledRule {
  readonly action: string;
  readonly phases: PluginPhases;
  holds(view: RequestView): boolean;
}

function compileRule({ case: expression, actions }: WorkflowRule, at: number, env: CompileEnv): CompiledRule {
  // True: `check` wants one.
  const [action, conf] = actions[0] as Action;
  const condition = expression && compileCondition(expression, env.clock);
  const phases =
    action === "return" ? compileReturn(conf as Static<typeof Returned>) : env.plugin(action, conf, `${at}`);
  return { action, phases, holds: condition ? (view) => condition.test(view) : () => true };
}

function compileReturn({ code }: Static<typeof Returned>): PluginPhases {
  const answer = jsonAnswer(code, { error_msg: "rejected by workflow" }, "workflow_returned");
  return { access: () => answer };
}

/** In APISIX's words where it has some. @param number from 1 */
function ruleError(
  { case: expression, actions }: WorkflowRule,
  number: number,
  find: FindPlugin | undefined,
): string | undefined {
  const wrong = expression && checkExpression(expression);
  if (wrong !== undefined) return `failed to validate the 'case' expression: ${wrong}`;
  if (actions.length === 0) return `rule ${number} has no action`;
  for (const [name, conf] of actions) {
    if (name !== "return" && !LIMITS.has(name)) return `unsupported action: ${name}`;
    const error = actionError(name, conf ?? {}, find);
    if (error !== undefined) return `failed to validate the '${name}' action: ${error}`;
  }
  return undefined;
}

function actionError(name: string, conf: unknown, find: FindPlugin | undefined): string | undefined {
  if (name === "return") {
    const error = compileSchema(Returned).check(conf);
    if (error !== undefined) return error;
    return (conf as Static<typeof Returned>).code < 200 ? "a code below 200 ends no request" : undefined;
  }
  const plugin = find?.(name);
  if (!plugin) return find && `${name} is not loaded`;
  return (
    compileSchema(plugin.schema, { references: true }).check(conf) ??
    plugin.check?.(withDefaults(plugin.schema, conf), find)
  );
}
