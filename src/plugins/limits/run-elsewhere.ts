/**
 * Limits that workflow has run for a request: the same plugin of the route, or of a global rule, leaves that request alone.
 */
import type { CompileEnv, PhaseHandler } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";

const noteOf = (plugin: string): string => `${plugin} run by workflow`;

export function markRunElsewhere(view: RequestView, plugin: string): void {
  view.setNote(noteOf(plugin), true);
}

/** The handler, for requests that workflow has not counted with this plugin; as it is where it is an action of workflow. */
export function unlessRunElsewhere(plugin: string, env: CompileEnv, handler: PhaseHandler): PhaseHandler {
  if (env.resource.part !== undefined) return handler;
  const note = noteOf(plugin);
  return (view) => (view.note(note) === true ? undefined : handler(view));
}
