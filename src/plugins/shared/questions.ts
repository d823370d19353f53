/**
 * What a plugin asks somebody outside about each request: bounded in time, size and number, over connections that are kept.
 * Promise: who gives no answer is no error of a request; addresses of clouds' metadata services are never asked.
 */
import { setMaxListeners } from "node:events";
import { type Static, Type } from "typebox";
import { messageOf } from "../../base/errors.ts";
import { openLimitedWarn } from "../../base/log.ts";
import { type ExchangeAnswer, type GuardedExchange, openExchange } from "../../base/net/guarded-exchange.ts";
import { METADATA_ADDRESSES } from "../../base/net/ip.ts";
import { type CompileEnv, Defaulted } from "../../plugin/plugin.ts";

/** Members of a configuration that say how it is asked. */
export const QUESTION_MEMBERS = {
  ssl_verify: Defaulted(Type.Boolean({ default: true })),
  /** Milliseconds. */
  timeout: Defaulted(Type.Integer({ minimum: 1, maximum: 60_000, default: 3_000 })),
  keepalive: Defaulted(Type.Boolean({ default: true })),
  keepalive_timeout: Defaulted(Type.Integer({ minimum: 1_000, default: 60_000 })),
  keepalive_pool: Defaulted(Type.Integer({ minimum: 1, default: 5 })),
};
const QuestionConf = Type.Object(QUESTION_MEMBERS);

const ANSWER_BYTES = 1_048_576;
const UNDER_WAY_MAX = 1_024;

type Ask = (request: Parameters<GuardedExchange>[0]) => Promise<ExchangeAnswer | undefined>;

/** Gives nothing where no answer comes, or where too many are waited for. */
export function openQuestions(plugin: string, conf: Static<typeof QuestionConf>, env: CompileEnv): Ask {
  // Never aborted: when the record changes, requests under way still wait for their answer, which has its time.
  const { signal } = new AbortController();
  setMaxListeners(UNDER_WAY_MAX + 1, signal);
  const exchange = openExchange({
    ...{ clock: env.clock, timeoutMs: conf.timeout, answerBytes: ANSWER_BYTES, denied: METADATA_ADDRESSES },
    ...{ nameServers: env.settings.nameServers, signal, code: "PLUGIN_FAILED" as const },
    keep: conf.keepalive ? { idleMs: conf.keepalive_timeout, most: conf.keepalive_pool } : undefined,
  });
  const warn = openLimitedWarn(env.log, env.clock);
  let underWay = 0;
  return async (request) => {
    if (underWay >= UNDER_WAY_MAX) return undefined;
    underWay++;
    try {
      return await exchange({ ...request, verifyTls: conf.ssl_verify });
    } catch (error) {
      warn({ plugin, error: messageOf(error) }, "who is asked about requests gave no answer");
      return undefined;
    } finally {
      underWay--;
    }
  };
}
