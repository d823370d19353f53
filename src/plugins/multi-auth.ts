/**
 * multi-auth: several authentication plugins, of which one must accept the caller; the first that does wins.
 * Promise: the caller never learns which of them refused, or why; what one of them alone may tell the upstream no client
 * tells, whoever accepts it. Source: docs/spec/jwt-auth.md section 8, APISIX 3.18.
 */
import { Type } from "typebox";
import { compileSchema } from "../base/schema/schema.ts";
import { withDefaults } from "../base/schema/schema-defaults.ts";
import type { Explaining, Step } from "../plugin/explanation.ts";
import { definePlugin, type FindPlugin, type PhaseHandler, type PluginPhases } from "../plugin/plugin.ts";
import { type Answer, jsonAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { SECRETS } from "./openid-connect/openid-connect-conf.ts";
import { REPLAY_SECRETS } from "./shared/replay-conf.ts";

const schema = Type.Object(
  {
    auth_plugins: Type.Unsafe<readonly Readonly<Record<string, unknown>>[]>({
      type: "array",
      minItems: 2,
      items: { type: "object" },
    }),
  },
  { title: "work with route or service object" },
);

export const multiAuth = definePlugin({
  name: "multi-auth",
  version: 0.1,
  priority: 2600,
  authenticates: true,
  encryptFields: [
    ...SECRETS.map((field) => `auth_plugins.openid-connect.${field}`),
    ...REPLAY_SECRETS.map((field) => `auth_plugins.access-token.${field}`),
  ],
  schema,
  check(conf, find) {
    if (!find) return undefined;
    for (const one of conf.auth_plugins)
      for (const [name, inner] of Object.entries(one)) {
        const error = innerError(name, inner, find);
        if (error !== undefined) return error;
      }
    return undefined;
  },
  compile(conf, env) {
    const compiled: PluginPhases[] = [];
    const names: string[] = [];
    for (const one of conf.auth_plugins)
      for (const [name, inner] of Object.entries(one)) {
        compiled.push(env.plugin(name, inner));
        names.push(name);
      }
    const tries = compiled.flatMap((phases) => (phases.rewrite ? [phases.rewrite] : []));
    const distrusts = compiled.flatMap((phases) => (phases.distrust ? [phases.distrust] : []));
    const publishers = compiled.flatMap((phases) => (phases.publish ? [phases.publish] : []));
    const published = (view: RequestView): Answer | undefined => {
      for (const one of publishers) {
        const answer = one(view);
        if (answer) return answer;
      }
      return undefined;
    };
    const distrust = (view: RequestView): void => {
      for (const one of distrusts) one(view);
    };
    return {
      rewrite(view) {
        distrust(view);
        return published(view) ?? tryFrom(tries, 0, view, []);
      },
      distrust,
      explain(view, explaining) {
        distrust(view);
        const answer = explaining.token === undefined ? published(view) : undefined;
        return answer ?? tryFrom(explained(compiled, names, explaining), 0, view, []);
      },
      close() {
        for (const phases of compiled) phases.close?.();
      },
    };
  },
});

/** As `rewrite`, without effects; steps are told with the plugin they are of. */
function explained(compiled: readonly PluginPhases[], names: readonly string[], to: Explaining): PhaseHandler[] {
  return compiled.flatMap(({ explain, rewrite }, at) => {
    if (!rewrite) return [];
    const run: PhaseHandler = (view) => {
      const steps: Step[] = [];
      const tell = (answer: Answer | undefined): Answer | undefined => {
        const reason = answer && { reason: answer.reason };
        to.steps.push({ step: names[at] ?? "", ok: answer === undefined, ...reason });
        to.steps.push(...steps.map((step) => ({ ...step, plugin: names[at] })));
        return answer;
      };
      const result = explain ? explain(view, { ...to, steps }) : rewrite(view);
      return result instanceof Promise ? result.then(tell) : tell(result);
    };
    return [run];
  });
}

function innerError(name: string, conf: unknown, find: FindPlugin): string | undefined {
  const plugin = find(name);
  if (!plugin) return `${name} plugin did not found`; // APISIX's words
  if (!plugin.credential && !(plugin.authenticates && plugin.name !== "multi-auth"))
    return `${name} plugin is not supported`;
  const error =
    compileSchema(plugin.schema, { references: true }).check(conf) ??
    plugin.check?.(withDefaults(plugin.schema, conf), find);
  return error === undefined ? undefined : `plugin ${name} check schema failed: ${error}`;
}

function tryFrom(
  tries: readonly PhaseHandler[],
  from: number,
  view: RequestView,
  before: readonly Answer[],
): Answer | undefined | Promise<Answer | undefined> {
  const refusals = [...before];
  for (let at = from; at < tries.length; at++) {
    const result = tries[at]?.(view);
    if (result === undefined) return undefined;
    if (result instanceof Promise)
      return result.then((answer) =>
        answer === undefined ? undefined : tryFrom(tries, at + 1, view, [...refusals, answer]),
      );
    refusals.push(result);
  }
  return failed(refusals);
}

/**
 * Carries the challenge of every plugin that was asked (RFC 9110 section 11.6.1). Where one could not judge at all (503),
 * that is the answer: a caller told 401 would throw away a token that is good.
 */
function failed(refusals: readonly Answer[]): Answer {
  const away = refusals.find(({ status }) => status === 503);
  if (away) return away;
  const challenges = new Set<string>();
  for (const { headers } of refusals)
    for (let i = 0; i < headers.length; i += 2)
      if (headers[i] === "WWW-Authenticate") challenges.add(headers[i + 1] ?? "");
  const lines = [...challenges].flatMap((challenge) => ["WWW-Authenticate", challenge]);
  return jsonAnswer(401, { message: "Authorization Failed" }, "multi_auth_failed", lines);
}
