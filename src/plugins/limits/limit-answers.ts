/**
 * What limits answer: refused, failed, or nothing because a failed backend is allowed to let requests through.
 * Source: docs/spec/plugins.md section 6.
 */
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { type Answer, bareAnswer, jsonAnswer } from "../../plugin/plugin-answer.ts";

interface RejectionConf {
  readonly rejected_code: number;
  readonly rejected_msg?: string;
  readonly allow_degradation: boolean;
}

interface LimitAnswers {
  readonly rejected: Answer;
  /** The backend failed: logs it. undefined lets the request go on. */
  failed(error: unknown): Answer | undefined;
  /** A number of the limit could not be read from the request. */
  unreadable(): Answer | undefined;
}

/** @param failedText body of the answer when the backend failed; undefined for the gateway's own page */
export function compileLimitAnswers(
  plugin: string,
  conf: RejectionConf,
  failedText: string | undefined,
  log: Log,
): LimitAnswers {
  const reason = `${plugin.replaceAll("-", "_")}_rejected`;
  const failed =
    failedText === undefined
      ? bareAnswer(500, "limit_failed")
      : jsonAnswer(500, { error_msg: failedText }, "limit_failed");
  const broken = bareAnswer(500, "limit_unreadable");
  return {
    rejected:
      conf.rejected_msg === undefined
        ? bareAnswer(conf.rejected_code, reason)
        : jsonAnswer(conf.rejected_code, { error_msg: conf.rejected_msg }, reason),
    failed(error) {
      log.error({ plugin, error: messageOf(error) }, "a limit could not be counted");
      return conf.allow_degradation ? undefined : failed;
    },
    unreadable() {
      log.warn({ plugin }, "a limit's numbers could not be read from the request");
      return conf.allow_degradation ? undefined : broken;
    },
  };
}
