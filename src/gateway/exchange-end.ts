/**
 * The end of a request's life: log phases, access log, metrics; and the log line for whatever threw before.
 * Promise: nothing here throws, whatever plugins do.
 */
import { type ErrorCode, isCodedError, messageOf } from "../base/errors.ts";
import type { Fields } from "../base/log.ts";
import { refusalDetailOf } from "../plugin/explanation.ts";
import type { PhaseHandler } from "../plugin/plugin.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { requestIdOf } from "../plugin/variables/variables.ts";
import type { Pipeline, PipelinePlugin } from "../runtime/routes/route-unit.ts";
import type { ClientConnection } from "./client-connection.ts";
import type { GatewayContext } from "./gateway-context.ts";
import { failureAnswer, type OwnAnswer, PLUGIN_FAILED } from "./gateway-pages.ts";
import { isOwnReason } from "./gateway-reasons.ts";
import { isRefusal, refusedCall } from "./log/refusals.ts";

/** The pipelines of one request. */
interface Ran {
  readonly global: Pipeline;
  readonly pipeline: Pipeline;
}

/**
 * @param status what the client got, 499 when it left before
 * @param last the handler that ran last, if the request ended with it
 */
export function recordOutcome(
  context: GatewayContext,
  view: RequestView,
  status: number,
  { global, pipeline }: Ran,
  last: PhaseHandler | undefined,
): void {
  const endMs = context.clock.monotonicMs();
  const { upstream } = view;
  upstream.endMs = endMs;
  runLog(context, view, global.log);
  runLog(context, view, pipeline.log);
  const isRefused = isRefusal(status, view.reason);
  const plugin = isRefused && !isOwnReason(view.reason) ? ownerOf(last, global, pipeline)?.plugin : undefined;
  // What one plugin noted says nothing of another's refusal behind it.
  const isOfCaller = plugin?.credential !== undefined || plugin?.authenticates === true;
  const known = isOfCaller ? refusalDetailOf(view) : undefined;
  const refused = isRefused ? refusedCall(view, status, plugin?.name, known, context.clock) : undefined;
  try {
    context.accessLog?.request(view, status, isOfCaller ? refused : undefined);
  } catch (error) {
    logCrash(context, view, error, "a line of the access log failed");
  }
  if (refused) context.refusals.add(refused, view);
  const metrics = context.metrics.route(view.route);
  metrics.count(status);
  metrics.duration.observe((endMs - view.startedMs) / 1000);
  if (upstream.headMs > 0) metrics.upstream.observe((upstream.headMs - upstream.sentMs) / 1000);
  context.metrics.inFlight.add(-1);
}

/** A request that never became an exchange: metrics and the access log. @param method empty when it is not known */
export function recordRefusal(
  context: GatewayContext,
  connection: ClientConnection,
  method: string,
  { reason, status }: OwnAnswer,
): void {
  context.metrics.error(reason);
  context.metrics.unmatched.count(status);
  context.accessLog?.refused({ connection, method, status, reason });
  const known = method === "" ? undefined : { method };
  context.refusals.add({
    time: context.clock.nowMs() / 1_000,
    client: connection.peerAddress,
    ...known,
    status,
    reason,
  });
}

/** The plugin that a handler is of; undefined for what is no plugin's. */
export function ownerOf(
  handler: PhaseHandler | undefined,
  global: Pipeline,
  pipeline: Pipeline,
): PipelinePlugin | undefined {
  if (handler === undefined) return undefined;
  return pipeline.plugins.find((one) => one.owns(handler)) ?? global.plugins.find((one) => one.owns(handler));
}

/** Says in the log what a plugin, or this program, threw. @returns what the client is told */
export function crashAnswer(context: GatewayContext, view: RequestView, error: unknown): OwnAnswer {
  if (!isCodedError(error) || error.status >= 500) logCrash(context, view, error, "a phase failed");
  return isCodedError(error) ? failureAnswer(error) : PLUGIN_FAILED;
}

export function logCrash(context: GatewayContext, view: RequestView, error: unknown, message: string): void {
  const stack = error instanceof Error ? error.stack : undefined;
  // True: that is what lower case makes of a code.
  const reason = isCodedError(error) ? (error.code.toLowerCase() as Lowercase<ErrorCode>) : PLUGIN_FAILED.reason;
  context.errors.error(reason, { ...requestFields(view), error: messageOf(error), stack }, message);
}

/** What every line about a request says of it. */
export function requestFields(view: RequestView): Fields {
  const { route, trace } = view;
  const fields = { request_id: requestIdOf(view), route: route?.id };
  return trace ? { ...fields, trace_id: trace.traceId, span_id: trace.spanId } : fields;
}

function runLog(context: GatewayContext, view: RequestView, handlers: Pipeline["log"]): void {
  for (const handler of handlers) {
    try {
      handler(view);
    } catch (error) {
      logCrash(context, view, error, "a log phase failed");
    }
  }
}
