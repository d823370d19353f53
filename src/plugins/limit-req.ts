/**
 * limit-req: a rate of requests per second by a leaky bucket; what is above the rate waits, what is above the burst
 * is refused. Source: docs/spec/plugins.md section 6, APISIX 3.18.
 */
import { Type } from "typebox";
import { sleep } from "../base/clock.ts";
import type { BucketUse } from "../plugin/counters.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileLimitAnswers } from "./limits/limit-answers.ts";
import { compileLimitKey } from "./limits/limit-key.ts";
import { backendRules, POLICIES } from "./limits/limit-schema.ts";
import { nodeCounters } from "./limits/local-counters.ts";
import type { RedisConf } from "./limits/redis.ts";
import { openRedisCounters } from "./limits/redis-counters.ts";
import { RejectedMessage, scopeOf, Words } from "./shared/schema-parts.ts";

const schema = Type.Object(
  {
    rate: Type.Number({ exclusiveMinimum: 0 }),
    burst: Type.Number({ minimum: 0 }),
    key: Type.String(),
    key_type: Defaulted(Words(["var", "var_combination"], { default: "var" })),
    policy: Defaulted(Words(POLICIES, { default: "local" })),
    rejected_code: Defaulted(Type.Integer({ minimum: 200, maximum: 599, default: 503 })),
    rejected_msg: RejectedMessage,
    nodelay: Defaulted(Type.Boolean({ default: false })),
    allow_degradation: Defaulted(Type.Boolean({ default: false })),
  },
  backendRules(),
);

const LEAST_DELAY_MS = 1; // shorter waits are not worth a timer

export const limitReq = definePlugin({
  name: "limit-req",
  version: 0.1,
  priority: 1001,
  explain: { not: "it counts requests" },
  schema,
  encryptFields: ["redis_password"],
  compile(conf, env) {
    // True: the schema requires the members of the chosen policy.
    const counters = conf.policy === "local" ? nodeCounters(env) : openRedisCounters(conf as RedisConf, env);
    const buckets = counters.buckets(scopeOf("limit-req", conf, env));
    const answers = compileLimitAnswers("limit-req", conf, undefined, env.log);
    const keyOf = compileLimitKey({ key: conf.key, keyType: conf.key_type }, env.clock);
    const rule = { perSecond: conf.rate, burst: conf.burst };
    const settle = (use: BucketUse): Answer | undefined | Promise<undefined> => {
      if (!use.allowed) return answers.rejected;
      if (conf.nodelay || use.delayMs < LEAST_DELAY_MS) return undefined;
      return sleep(env.clock, use.delayMs).then(() => undefined);
    };
    return {
      access: afterBody(conf, (view) => {
        const use = buckets.pour(keyOf(view), rule);
        return use instanceof Promise ? use.then(settle, (error: unknown) => answers.failed(error)) : settle(use);
      }),
      close: () => buckets.release(),
    };
  },
});
