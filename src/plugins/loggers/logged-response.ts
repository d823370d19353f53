/**
 * Bodies of responses for loggers: what the client gets, before a content coding, up to a bound.
 * Promise: traffic goes on as it comes; what all bodies of a process hold while they are collected is bounded, beyond which they
 * are not logged.
 */
import type { NodeEnv, PluginPhases } from "../../plugin/plugin.ts";
import { compileCondition } from "../../plugin/variables/condition.ts";
import type { LogConf } from "./logger-schema.ts";

export const RESPONSE_BODY = "logged response body";
/** Of a process. */
const BYTES_MAX = 67_108_864;

/** The phases that collect bodies, where a configuration asks for them. */
export function responsePhases(conf: LogConf, env: NodeEnv): Pick<PluginPhases, "headerFilter" | "close"> {
  if (!conf.include_resp_body) return {};
  const limitBytes = conf.max_resp_body_bytes;
  const condition = conf.include_resp_body_expr && compileCondition(conf.include_resp_body_expr, env.clock);
  const { state: memory, release } = env.states.hold("logged responses", () => ({ bytes: 0 }));
  return {
    headerFilter(view, response) {
      if (condition?.test(view) === false) return;
      response.observeBody(() => {
        const pieces: Buffer[] = [];
        let bytes = 0;
        return {
          write(piece) {
            const wanted = Math.min(piece.length, limitBytes - bytes);
            if (wanted === 0 || memory.bytes + wanted > BYTES_MAX) return;
            // A copy: a short part would hold the whole of a read.
            pieces.push(Buffer.from(piece.subarray(0, wanted)));
            bytes += wanted;
            memory.bytes += wanted;
          },
          close() {
            view.setNote(RESPONSE_BODY, Buffer.concat(pieces, bytes).toString("utf8"));
            memory.bytes -= bytes;
          },
        };
      });
    },
    close: release,
  };
}
