/**
 * traffic-split: sends shares of the traffic, or requests that match, to other upstreams.
 * Promise: shares are kept by smooth weighted turns, so that they hold over any few requests.
 * Source: APISIX 3.18 traffic-split.
 */
import { type Static, Type } from "typebox";
import { checkExpression } from "../model/expression.ts";
import { Id } from "../model/shared-schema.ts";
import { Upstream } from "../model/upstream.ts";
import { type CompileEnv, Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileCondition } from "../plugin/variables/condition.ts";
import { Vars } from "./shared/schema-parts.ts";

const WeightedUpstream = Type.Object({
  upstream_id: Type.Optional(Id),
  upstream: Type.Optional(Upstream),
  weight: Defaulted(
    Type.Integer({
      description: "used to split traffic between differentupstreams for plugin configuration",
      default: 1,
      minimum: 0,
    }),
  ),
});

const SplitRule = Type.Object({
  match: Type.Optional(Type.Array(Type.Object({ vars: Type.Optional(Vars) }))),
  weighted_upstreams: Defaulted(Type.Array(WeightedUpstream, { minItems: 1, maxItems: 20, default: [{ weight: 1 }] })),
});
type SplitRule = Static<typeof SplitRule>;

const schema = Type.Object({ rules: Type.Optional(Type.Array(SplitRule)) });

export const trafficSplit = definePlugin({
  name: "traffic-split",
  version: 0.1,
  priority: 966,
  explain: { not: "it takes turns between upstreams" },
  schema,
  check(conf) {
    for (const { match } of conf.rules ?? [])
      for (const { vars } of match ?? []) {
        const error = checkExpression(vars);
        if (error !== undefined) return `failed to validate the 'vars' expression: ${error}`;
      }
    return undefined;
  },
  compile(conf, env) {
    const rules = (conf.rules ?? []).map((rule) => compileRule(rule, env));
    const choose = (view: RequestView): undefined => {
      const rule = rules.find((one) => one.matches(view));
      if (rule) view.upstreamChoice = rule.next();
      return undefined;
    };
    return { access: afterBody(conf, choose) };
  },
});

interface CompiledRule {
  matches(view: RequestView): boolean;
  /** Handle of the upstream whose turn it is; undefined is the route's own. */
  next(): unknown;
}

function compileRule(rule: SplitRule, env: CompileEnv): CompiledRule {
  const conditions = rule.match?.map(({ vars }) => compileCondition(vars, env.clock));
  const shares = rule.weighted_upstreams.map(({ upstream, upstream_id: id, weight }) => ({
    handle: id !== undefined ? env.upstream({ upstreamId: String(id) }) : upstream && env.upstream({ upstream }),
    weight,
    current: 0,
  }));
  return {
    // An empty list of matches matches nothing else than no list: everything.
    matches: (view) => conditions === undefined || conditions.length === 0 || conditions.some((one) => one.test(view)),
    next: () => takeTurn(shares),
  };
}

interface Share {
  readonly handle: unknown;
  readonly weight: number;
  current: number;
}

/** Smooth weighted round robin, as nginx does it. Cost: one pass over at most 20 shares. */
function takeTurn(shares: readonly Share[]): unknown {
  let total = 0;
  let best: Share | undefined;
  for (const share of shares) {
    if (share.weight === 0) continue;
    share.current += share.weight;
    total += share.weight;
    if (!best || share.current > best.current) best = share;
  }
  if (!best) return undefined;
  best.current -= total;
  return best.handle;
}
