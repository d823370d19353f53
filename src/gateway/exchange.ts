/**
 * The life of one request, the same on every lane: match, global rules, rewrite, consumer, access, upstream, filters, log.
 * Promise: exactly one response or a broken connection, exactly one log phase; whatever a plugin throws ends this
 * request and nothing else. Nothing here waits where nothing is to be waited for.
 */
import { isCodedError } from "../base/errors.ts";
import { HeaderList } from "../plugin/headers.ts";
import type { PhaseHandler } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import type { Consumer } from "../plugin/plugin-consumer.ts";
import type { RequestView, Wait } from "../plugin/request-view.ts";
import { ResponseView } from "../plugin/response-view.ts";
import { loadBodyVariables } from "../plugin/variables/body-variables.ts";
import { EMPTY_PIPELINE } from "../runtime/plugins/pipeline.ts";
import type { Pipeline, Route } from "../runtime/routes/route-unit.ts";
import { BodyChain, type BodyOrigin } from "./body-chain.ts";
import { crashAnswer, logCrash, ownerOf, recordOutcome } from "./exchange-end.ts";
import type { FinishedAnswer } from "./finished-answers.ts";
import { Forwarding } from "./forwarding.ts";
import type { GatewayContext } from "./gateway-context.ts";
import {
  bodyOf,
  CONFIGURATION_NOT_LOADED,
  CONFIGURATION_STALE,
  GROUP_MISSING,
  NO_CHOICE,
  type OwnAnswer,
  PATH_AMBIGUOUS,
  PLUGIN_CONFIG_MISSING,
  PLUGIN_FAILED,
  ROUTE_NOT_FOUND,
  SERVICE_MISSING,
} from "./gateway-pages.ts";
import type { OwnReason } from "./gateway-reasons.ts";
import { answerGrpc, failGrpc } from "./grpc-answer.ts";
import { chooseCoding } from "./http/content-coding.ts";
import { isGrpc } from "./http/grpc.ts";
import type { Framing } from "./http/message.ts";
import type { IncomingBody } from "./http/request-body.ts";
import { addCharset, dropUnsendable } from "./http/response-edit.ts";
import { hasHeaderFilters, isBodiless, type Life, type Reply, sendFinished, sendWhole } from "./reply.ts";

const NOTHING: readonly PhaseHandler[] = Object.freeze([]);
/** For conditions of routes on what is in the body. */
const READ_BODY: readonly PhaseHandler[] = Object.freeze([loadBodyVariables]);
const CLIENT_CLOSED = 499;

/** Gives the handlers to run next; or undefined, when it ended the request or sent it on its way. */
type Phase = (exchange: Exchange) => readonly PhaseHandler[] | undefined;

export class Exchange implements Life {
  /** The life of every request, in this order. */
  static readonly #phases: readonly Phase[] = Object.freeze([
    (exchange: Exchange) => (exchange.context.routing.needsBody ? READ_BODY : NOTHING),
    (exchange: Exchange) => exchange.#matchRoute(),
    (exchange: Exchange) => exchange.global.rewrite,
    (exchange: Exchange) => exchange.pipeline.toConsumer,
    (exchange: Exchange) => exchange.#mergeConsumer(false),
    (exchange: Exchange) => exchange.pipeline.afterConsumer,
    (exchange: Exchange) => exchange.#mergeConsumer(true),
    (exchange: Exchange) => exchange.global.access,
    (exchange: Exchange) => exchange.#access(),
    (exchange: Exchange) => exchange.#forward(),
  ]);

  readonly context: GatewayContext;
  readonly view: RequestView;
  readonly body: IncomingBody;
  readonly reply: Reply;
  global: Pipeline = EMPTY_PIPELINE;
  /** The route's pipeline, merged with the consumer's once there is one. */
  pipeline: Pipeline = EMPTY_PIPELINE;
  route: Route | undefined = undefined;
  /** True once the log phase ran. */
  over = false;
  readonly #matchPath: string;
  #phase = 0;
  #handlers: readonly PhaseHandler[] = NOTHING;
  #at = 0;
  /** Whose plugins were laid over the route's. */
  #merged: Consumer | undefined = undefined;
  #forwarding: Forwarding | undefined;
  /** What the body passes through; undefined: it goes straight to the client. */
  #chain: BodyChain | undefined;
  #answered = false;
  #filterFailed = false;

  constructor(context: GatewayContext, view: RequestView, matchPath: string, body: IncomingBody, reply: Reply) {
    this.context = context;
    this.view = view;
    this.body = body;
    this.reply = reply;
    this.#matchPath = matchPath;
    context.metrics.inFlight.add(1);
  }

  /** Begins, or goes on with what a phase gave; the response may be complete when this returns. */
  run(answer?: Answer): void {
    if (this.over) return;
    try {
      if (answer) this.answer(answer);
      else this.#advance();
    } catch (error) {
      this.crash(error);
    }
  }

  /** Runs handler after handler, phase after phase, until one ends the request or has to wait. */
  #advance(): void {
    for (;;) {
      const handlers = this.#handlers;
      while (this.#at < handlers.length) {
        const result = (handlers[this.#at++] as PhaseHandler)(this.view);
        if (result === undefined) continue;
        if (result instanceof Promise) this.#await(result);
        else this.answer(result);
        return;
      }
      const next = Exchange.#phases[this.#phase++]?.(this);
      if (next === undefined) return;
      this.#handlers = next;
      this.#at = 0;
    }
  }

  #await(pending: Promise<Answer | undefined>): void {
    const wait = this.view.trace?.waits && this.#noteWait(this.view.trace.waits);
    pending.then(
      (answer) => {
        if (wait) wait.endMs = this.context.clock.monotonicMs();
        this.run(answer);
      },
      (error: unknown) => {
        if (wait) wait.endMs = this.context.clock.monotonicMs();
        this.crash(error);
      },
    );
  }

  #noteWait(waits: Wait[]): Wait {
    const owner = ownerOf(this.#handlers[this.#at - 1], this.global, this.pipeline);
    const wait = { plugin: owner?.plugin.name ?? "", startMs: this.context.clock.monotonicMs(), endMs: 0 };
    waits.push(wait);
    return wait;
  }

  #matchRoute(): readonly PhaseHandler[] | undefined {
    const { view } = this;
    const { routing } = this.context;
    const match = routing.match(view, this.#matchPath);
    if (match && view.head.otherPaths.length > 0 && !this.#matchesAlike(match.unit))
      return this.answerSelf(PATH_AMBIGUOUS);
    this.global = routing.globalPipeline(match?.unit);
    if (match) {
      const route = match.unit;
      this.route = route;
      this.pipeline = route.pipeline;
      view.route = match.facts;
      if (route.broken === 404) return this.answerSelf(this.#ifLoaded(SERVICE_MISSING));
      if (route.broken !== undefined) return this.answerSelf(PLUGIN_CONFIG_MISSING);
    }
    return NOTHING;
  }

  /** A path that an upstream could read as one of another route is nobody's to judge. */
  #matchesAlike(unit: Route): boolean {
    const { context, view } = this;
    return view.isAlike((seen) => (seen === view ? unit : context.routing.match(seen, seen.path)?.unit));
  }

  /**
   * Lays the consumer's plugins over the route's, once it is known who calls.
   * @param isLast the rewrite phase is over, in which any plugin may have named the consumer: its own comes then
   */
  #mergeConsumer(isLast: boolean): readonly PhaseHandler[] | undefined {
    const { consumer } = this.view;
    if (!consumer || !this.route || consumer === this.#merged) return NOTHING;
    this.#merged = consumer;
    const { uses } = this.context;
    const used = this.view.identifiedBy ?? consumer;
    if (used.usedIn !== uses.hour) uses.caller(used, consumer, this.view.credentialId);
    if (this.context.freshness.isTooOld) return this.answerSelf(CONFIGURATION_STALE);
    const merged = this.route.pipelineFor(consumer, isLast);
    if (merged === "group_missing") return this.answerSelf(GROUP_MISSING);
    if (merged === this.pipeline) return NOTHING;
    this.pipeline = merged;
    return isLast ? merged.rewrite : NOTHING;
  }

  #access(): readonly PhaseHandler[] | undefined {
    if (!this.route) return this.answerSelf(this.#ifLoaded(ROUTE_NOT_FOUND));
    return this.pipeline.access;
  }

  #forward(): undefined {
    const route = this.route as Route; // true: without a route the request was answered 404
    const choice = route.upstream(this.view);
    if (choice.kind !== "upstream") return this.answerSelf(NO_CHOICE[choice.kind]);
    const attempts = choice.unit.start(this.view);
    if (!attempts) return this.answerSelf(NO_CHOICE.none);
    this.#forwarding = new Forwarding(this, choice.unit, attempts, route.timeouts ?? choice.unit.timeouts);
    this.#forwarding.run();
  }

  /** Before the first configuration is complete, what is not there may only not have come yet. */
  #ifLoaded(answer: OwnAnswer): OwnAnswer {
    return this.context.freshness.isLoaded ? answer : CONFIGURATION_NOT_LOADED;
  }

  answerSelf(answer: OwnAnswer): undefined {
    this.context.metrics.error(answer.reason);
    this.answer(answer);
  }

  /** Ends the request with this answer; header filters see it, the body of the client is not waited for. */
  answer(answer: Answer): void {
    if (this.#answered || this.over) return;
    this.view.reason = answer.reason;
    const finished = this.#finishedOf(answer);
    if (finished) {
      this.view.response = new ResponseView(finished.status, new HeaderList(finished.lines.slice()), "gateway");
      this.#answered = true;
      sendFinished(this.reply, finished);
      this.close();
      return;
    }
    const headers = new HeaderList(answer.headers.slice());
    const bytes = bodyOf(answer, headers);
    const response = new ResponseView(answer.status, headers, "gateway");
    try {
      this.filterHead(response, bytes.length);
    } catch (error) {
      this.crash(error, response);
      return;
    }
    this.sendWhole(response, response.replacement ?? bytes, headers.has("date"));
  }

  /** Only where nothing of this request changes what the client gets. */
  #finishedOf(answer: Answer): FinishedAnswer | undefined {
    const { method } = this.view.head;
    if (this.#forwarding || hasHeaderFilters(this) || method === "HEAD") return undefined;
    if (method === "POST" && isGrpc(this.view.header("content-type"))) return undefined;
    const { answers, settings } = this.context;
    return answers.find(answer, settings.ownHeaders, this.reply.statusMax);
  }

  filterHead(response: ResponseView, length: number | undefined): void {
    const { context, global, pipeline, view } = this;
    view.response = response;
    const { ownHeaders } = context.settings;
    for (let at = 0; at < ownHeaders.length; at += 2)
      response.headers.append(ownHeaders[at] as string, ownHeaders[at + 1] as string);
    if (response.status >= 500 || context.settings.showUpstreamStatus) {
      const statuses = this.#forwarding?.shownStatuses;
      if (statuses !== undefined) response.headers.append("X-APISIX-Upstream-Status", statuses);
    }
    const isTouched = response.source !== "upstream" || hasHeaderFilters(this);
    if (isTouched && !this.#filterFailed) {
      this.#filterFailed = true; // what one that throws would have hidden must not be shown: the 500 passes none
      for (const filter of global.headerFilter) filter(view, response);
      for (const filter of pipeline.headerFilter) filter(view, response);
      if (response.codings.length > 0)
        chooseCoding(view, response, response.isChanged ? undefined : (response.replacement?.length ?? length));
      this.#filterFailed = false;
    }
    // A status that this protocol cannot carry counts as a server error (RFC 9110 section 15).
    if (response.status > this.reply.statusMax) response.status = 502;
    addCharset(response.headers);
    if (isTouched) dropUnsendable(response, context.metrics.droppedHeaders);
  }

  sendWhole(response: ResponseView, bytes: Buffer, hasDate: boolean): void {
    if (response.source === "gateway" && answerGrpc(this.reply, this.view, response, bytes, hasDate)) {
      this.#answered = true;
      this.close();
      return;
    }
    if (response.stages.length > 0 && !isBodiless(this.view.head.method, response.status)) {
      const chain = this.openChain(response, bytes.length, hasDate);
      chain.write(bytes);
      chain.end();
      return;
    }
    this.#answered = true;
    sendWhole(this.reply, this.view.head.method, response, bytes, hasDate);
    this.close();
  }

  openChain(response: ResponseView, length: Framing, hasDate: boolean, origin?: BodyOrigin): BodyChain {
    this.#chain?.close();
    this.#chain = new BodyChain(this, response, length, hasDate, origin);
    this.#chain.open();
    return this.#chain;
  }

  close(): void {
    if (this.over) return;
    if (!this.body.complete) this.body.discard();
    this.reply.end();
    this.reply.flush();
    this.#finish(this.view.response?.status ?? 0);
    this.reply.release();
  }

  breakOff(reason: OwnReason): void {
    if (this.over) return;
    this.view.reason = reason;
    this.context.metrics.error(reason);
    if (failGrpc(this.reply, this.view, reason === "grpc_deadline" ? 504 : 502)) this.reply.end();
    else this.reply.destroy();
    this.#finish(this.view.response?.status ?? 0);
  }

  /** Lane: the client went away. */
  clientGone(): void {
    if (this.over) return;
    this.view.reason = "client_aborted";
    this.#finish(CLIENT_CLOSED);
  }

  /** Lane: the client can take more. */
  clientDrained(): void {
    if (this.over) return;
    if (this.#chain) this.#chain.clientDrained();
    else this.#forwarding?.clientDrained();
  }

  /** Lane: the request itself turned out to be broken or late; answered when that is still possible. */
  refuse(answer: OwnAnswer): void {
    if (this.over) return;
    this.reply.endAfterThis();
    this.#fail(answer, answer.reason);
  }

  crash(error: unknown, response?: ResponseView): void {
    if (this.over) return;
    if (response?.source === "gateway") this.#filterFailed = true; // the 500 passes none
    if (isCodedError(error) && error.code === "CLIENT_ABORTED") {
      this.clientGone();
      this.reply.destroy();
      return;
    }
    this.#fail(crashAnswer(this.context, this.view, error), PLUGIN_FAILED.reason);
  }

  noteCrash(error: unknown): void {
    logCrash(this.context, this.view, error, "a body stage failed");
  }

  /** @param reason for the case that a response has begun */
  #fail(answer: OwnAnswer, reason: OwnReason): void {
    this.#forwarding?.cancel();
    if (this.reply.headSent || this.#answered) this.breakOff(reason);
    else this.answerSelf(answer);
  }

  #finish(status: number): void {
    this.over = true;
    const { context, reply, view } = this;
    this.#chain?.close();
    this.#forwarding?.ended(status === CLIENT_CLOSED);
    if (!this.body.complete) this.body.discard();
    view.sentBytes = reply.sentBytes;
    view.receivedBytes += this.body.received;
    // Between two phases: the last of the phase before; the reason tells that it was not the cause.
    recordOutcome(context, view, status, this, this.#handlers[this.#at - 1]);
    this.body.release();
  }
}
