/** Runs the handlers of one phase in order until one answers, as the exchange does. */
import type { PhaseHandler } from "../../src/plugin/plugin.ts";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";

export async function runPhase(handlers: readonly PhaseHandler[], view: RequestView): Promise<Answer | undefined> {
  for (const handler of handlers) {
    const answer = await handler(view);
    if (answer !== undefined) return answer;
  }
  return undefined;
}
