/**
 * Answers whose headers and body are templates from configuration; made once where they hold no variable.
 */

import { HeaderList } from "../../plugin/headers.ts";
import { type Answer, bareAnswer, textAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileTemplate, isTemplate } from "../../plugin/variables/template.ts";
import { escapesInBody } from "../../plugin/variables/text-places.ts";
import { compileHeaderEdits, type HeaderText } from "./header-operations.ts";

interface AnswerText {
  readonly status: number;
  readonly headers: readonly (readonly [string, HeaderText])[];
  /** undefined: the gateway's own page. */
  readonly body: string | undefined;
  /** True: the body is sent as it is written. */
  readonly plainBody?: boolean;
}

/** Headers whose value cannot stand in a header are left out. */
export function compileTemplatedAnswer(text: AnswerText, reason: string): (view: RequestView) => Answer {
  const edit = compileHeaderEdits({ add: text.headers });
  const body =
    text.body === undefined
      ? undefined
      : text.plainBody
        ? () => text.body ?? ""
        : compileTemplate(text.body, { escapes: escapesInBody });
  const make = (view: RequestView): Answer => {
    const list = new HeaderList();
    edit(view, list);
    return body ? textAnswer(text.status, body(view), reason, list.lines) : bareAnswer(text.status, reason, list.lines);
  };
  const varies = [text.plainBody ? "" : (text.body ?? ""), ...text.headers.map(([, value]) => String(value))].some(
    isTemplate,
  );
  if (varies) return make;
  let fixed: Answer | undefined;
  return (view) => {
    fixed ??= make(view);
    return fixed;
  };
}
