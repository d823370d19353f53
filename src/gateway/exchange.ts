/**
 * The life of one request, the same on every lane: match, global rules, rewrite, consumer, access, upstream, filters, log.
 * Promise: exactly one response or a broken connection, exactly one log phase; whatever a plugin throws ends this
 * request and nothing else. Nothing here waits where nothing is to be waited for.
 */
import { isGatewayError } from "../base/errors.ts";
import { HeaderList } from "../plugin/headers.ts";
import type { PhaseHandler } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import type { Consumer } from "../plugin/plugin-consumer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { ResponseView } from "../plugin/response-view.ts";
import { loadBodyVariables } from "../plugin/variables/body-variables.ts";
import type { Pipeline, RouteUnit } from "../runtime/routes/route-unit.ts";
import { logCrash, recordOutcome } from "./exchange-end.ts";
import { Forwarding } from "./forwarding.ts";
import type { GatewayContext } from "./gateway-context.ts";
import {
  CONFIGURATION_NOT_LOADED,
  CONFIGURATION_STALE,
  failureAnswer,
  GROUP_MISSING,
  PATH_AMBIGUOUS,
  PLUGIN_CONFIG_MISSING,
  PLUGIN_FAILED,
  pageOf,
  ROUTE_NOT_FOUND,
  SERVICE_MISSING,
  TEXT_TYPE,
  UPSTREAM_CERTIFICATE_MISSING,
  UPSTREAM_MISSING,
  UPSTREAM_NONE,
} from "./gateway-pages.ts";
import type { IncomingBody } from "./http/request-body.ts";
import { addCharset, applyBodyFilters, dropUnsendable } from "./http/response-edit.ts";
import type { Reply } from "./reply.ts";

const GLOBAL_REWRITE = 0;
const ROUTE_TO_CONSUMER = 1;
const CONSUMER = 2;
const ROUTE_REWRITE = 3;
const LATE_CONSUMER = 4;
const GLOBAL_ACCESS = 5;
const ROUTE_ACCESS = 6;
const FORWARD = 7;

const NOTHING: readonly PhaseHandler[] = Object.freeze([]);
/** Until the global rules are known. */
const NO_PIPELINE: Pipeline = Object.freeze({
  rewrite: NOTHING,
  toConsumer: NOTHING,
  afterConsumer: NOTHING,
  access: NOTHING,
  beforeProxy: [],
  headerFilter: [],
  log: [],
});
const CLIENT_CLOSED = 499;
const NO_CHOICE = Object.freeze({
  none: UPSTREAM_NONE,
  missing: UPSTREAM_MISSING,
  uncertified: UPSTREAM_CERTIFICATE_MISSING,
});

export class Exchange {
  readonly context: GatewayContext;
  readonly view: RequestView;
  readonly body: IncomingBody;
  readonly reply: Reply;
  global: Pipeline = NO_PIPELINE;
  /** The route's pipeline, merged with the consumer's once there is one. */
  pipeline: Pipeline | undefined = undefined;
  route: RouteUnit | undefined = undefined;
  /** True once the log phase ran. */
  over = false;
  readonly #matchPath: string;
  #stage = GLOBAL_REWRITE;
  #handlers: readonly PhaseHandler[] = NOTHING;
  #at = 0;
  /** Whose plugins were laid over the route's. */
  #merged: Consumer | undefined = undefined;
  #answered = false;
  #filterFailed = false;
  #forwarding: Forwarding | undefined;

  constructor(context: GatewayContext, view: RequestView, matchPath: string, body: IncomingBody, reply: Reply) {
    this.context = context;
    this.view = view;
    this.body = body;
    this.reply = reply;
    this.#matchPath = matchPath;
    context.metrics.inFlight.add(1);
  }

  /** Begins; the response may be complete when this returns. */
  run(): void {
    const { routing } = this.context;
    const pending = routing.needsBody ? loadBodyVariables(this.view) : undefined;
    if (pending === undefined) this.#start();
    else
      pending.then(
        () => this.#start(),
        (error: unknown) => this.crash(error),
      );
  }

  /** The gateway itself answers an error. */
  answerSelf(answer: Answer): void {
    this.context.metrics.error(answer.reason);
    this.answer(answer);
  }

  /** Ends the request with this answer; header filters see it, the body of the client is not waited for. */
  answer(answer: Answer): void {
    if (this.#answered || this.over) return;
    this.view.reason = answer.reason;
    const { status } = answer;
    const headers = new HeaderList(answer.headers.slice());
    const page = answer.body === undefined && status >= 400;
    let bytes = toBytes(page ? pageOf(status) : (answer.body ?? ""));
    if (!headers.has("content-type")) {
      if (page) headers.append("Content-Type", "application/json");
      else if (bytes.length > 0) headers.append("Content-Type", TEXT_TYPE);
    }
    const response = new ResponseView(status, headers, "gateway");
    try {
      this.filterHead(response);
      bytes = applyBodyFilters(response, response.replacement ?? bytes) ?? bytes;
    } catch (error) {
      this.#filterFailed = true;
      this.crash(error);
      return;
    }
    this.#answered = true;
    this.sendWhole(response, bytes, headers.has("date"));
  }

  /** Adds what every response carries and runs the header filters. Throws what they throw: default closed. */
  filterHead(response: ResponseView): void {
    const { context, view } = this;
    view.response = response;
    response.headers.append("Server", context.settings.serverHeader);
    if (response.status >= 500 || context.settings.showUpstreamStatus) {
      const statuses = this.#forwarding?.shownStatuses;
      if (statuses !== undefined) response.headers.append("X-APISIX-Upstream-Status", statuses);
    }
    const global = this.global.headerFilter;
    const own = this.pipeline?.headerFilter;
    if (global.length === 0 && (own === undefined || own.length === 0) && response.source === "upstream") {
      this.#fit(response);
      addCharset(response.headers);
      return;
    }
    if (!this.#filterFailed) {
      try {
        for (const filter of global) filter(view, response);
        if (own) for (const filter of own) filter(view, response);
      } catch (error) {
        // What it would have hidden must not be shown: the caller answers 500, which no filter sees.
        this.#filterFailed = true;
        throw error;
      }
    }
    this.#fit(response);
    addCharset(response.headers);
    dropUnsendable(response, context.metrics.droppedHeaders);
  }

  /** A status that this protocol cannot carry counts as a server error (RFC 9110 section 15). */
  #fit(response: ResponseView): void {
    if (response.status > this.reply.statusMax) response.status = 502;
  }

  /** Sends head and body in one go and ends the exchange. */
  sendWhole(response: ResponseView, bytes: Buffer, hasDate: boolean): void {
    const { reply } = this;
    const { status } = response;
    const bodiless = status === 204 || status === 304;
    const lines = response.headers.lines;
    // A body that a filter made has no announced length, as with nginx, which tools compare.
    const rewritten = response.replacement !== undefined || response.filters.length > 0;
    if (bodiless) reply.head(status, lines, "none", hasDate);
    else if (this.view.head.method === "HEAD") {
      if (!rewritten) lines.push("Content-Length", String(bytes.length));
      reply.head(status, lines, "none", hasDate);
    } else {
      reply.head(status, lines, rewritten ? "unknown" : bytes.length, hasDate);
      if (bytes.length > 0) reply.data(bytes, "kept");
    }
    this.close();
  }

  /** The response is complete. */
  close(): void {
    if (this.over) return;
    if (!this.body.complete) this.body.discard();
    this.reply.end();
    this.reply.flush();
    this.#finish(this.view.response?.status ?? 0);
    this.reply.release();
  }

  /** The response cannot be completed. */
  breakOff(reason: string): void {
    if (this.over) return;
    this.view.reason = reason;
    this.context.metrics.error(reason);
    this.reply.destroy();
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
    this.#forwarding?.clientDrained();
  }

  /** Lane: the request itself turned out to be broken or late; answered when that is still possible. */
  refuse(answer: Answer): void {
    if (this.over) return;
    this.reply.endAfterThis();
    this.#forwarding?.cancel();
    if (this.reply.headSent || this.#answered) this.breakOff(answer.reason);
    else this.answerSelf(answer);
  }

  /** A phase or this program threw. */
  crash(error: unknown): void {
    if (this.over) return;
    if (isGatewayError(error) && error.code === "CLIENT_ABORTED") {
      this.clientGone();
      this.reply.destroy();
      return;
    }
    if (!isGatewayError(error) || error.status >= 500) this.#logCrash(error, "a phase failed");
    this.#forwarding?.cancel();
    if (this.reply.headSent || this.#answered) this.breakOff(PLUGIN_FAILED.reason);
    else this.answerSelf(isGatewayError(error) ? failureAnswer(error) : PLUGIN_FAILED);
  }

  #start(): void {
    if (this.over) return;
    const { context, view } = this;
    const { routing } = context;
    try {
      const match = routing.match(view, this.#matchPath);
      if (match && view.head.otherPaths.length > 0 && !this.#matchesAlike(match.unit)) {
        this.answerSelf(PATH_AMBIGUOUS);
        return;
      }
      this.global = routing.globalPipeline(match?.unit);
      if (match) {
        const route = match.unit;
        this.route = route;
        this.pipeline = route.pipeline;
        view.route = match.facts;
        if (route.broken !== undefined) {
          this.answerSelf(route.broken === 404 ? this.#ifLoaded(SERVICE_MISSING) : PLUGIN_CONFIG_MISSING);
          return;
        }
      }
      this.#handlers = this.global.rewrite;
      this.#advance();
    } catch (error) {
      this.crash(error);
    }
  }

  /** A path that an upstream could read as one of another route is nobody's to judge. */
  #matchesAlike(unit: RouteUnit): boolean {
    const { view } = this;
    return view.isAlike((seen) => (seen === view ? unit : this.context.routing.match(seen, seen.path)?.unit));
  }

  #advance(): void {
    const { view } = this;
    for (;;) {
      const handlers = this.#handlers;
      while (this.#at < handlers.length) {
        const handler = handlers[this.#at++] as PhaseHandler;
        const result = handler(view);
        if (result === undefined) continue;
        if (result instanceof Promise) {
          this.#await(result);
          return;
        }
        this.answer(result);
        return;
      }
      this.#at = 0;
      this.#stage++;
      if (!this.#enter()) return;
    }
  }

  #await(pending: Promise<Answer | undefined>): void {
    pending.then(
      (answer) => {
        if (this.over) return;
        try {
          if (answer === undefined) this.#advance();
          else this.answer(answer);
        } catch (error) {
          this.crash(error);
        }
      },
      (error: unknown) => this.crash(error),
    );
  }

  /** Sets the handlers of the stage just reached. @returns false when the phases are over */
  #enter(): boolean {
    switch (this.#stage) {
      case ROUTE_TO_CONSUMER:
        this.#handlers = this.pipeline?.toConsumer ?? NOTHING;
        return true;
      case CONSUMER:
        return this.#mergeConsumer(false);
      case ROUTE_REWRITE:
        this.#handlers = this.pipeline?.afterConsumer ?? NOTHING;
        return true;
      case LATE_CONSUMER:
        return this.#mergeConsumer(true);
      case GLOBAL_ACCESS:
        this.#handlers = this.global.access;
        return true;
      case ROUTE_ACCESS:
        if (!this.route) {
          this.answerSelf(this.#ifLoaded(ROUTE_NOT_FOUND));
          return false;
        }
        this.#handlers = this.pipeline?.access ?? NOTHING;
        return true;
      case FORWARD:
        this.#forward();
        return false;
      default:
        return false;
    }
  }

  /** Before the first configuration is complete, what is not there may only not have come yet. */
  #ifLoaded(answer: Answer): Answer {
    return this.context.freshness.isLoaded ? answer : CONFIGURATION_NOT_LOADED;
  }

  /** @param late another plugin than those that authenticate may have said who calls */
  #mergeConsumer(late: boolean): boolean {
    this.#handlers = NOTHING;
    const { consumer } = this.view;
    if (!consumer || !this.route || consumer === this.#merged) return true;
    this.#merged = consumer;
    if (this.context.freshness.isTooOld) {
      this.answerSelf(CONFIGURATION_STALE);
      return false;
    }
    const merged = this.route.pipelineFor(consumer, late);
    if (merged === "group_missing") {
      this.answerSelf(GROUP_MISSING);
      return false;
    }
    if (merged === this.pipeline) return true;
    this.pipeline = merged;
    if (late) this.#handlers = merged.rewrite;
    return true;
  }

  #forward(): void {
    const route = this.route as RouteUnit; // true: without a route the request was answered 404
    const choice = route.upstream(this.view);
    if (choice.kind !== "upstream") {
      this.answerSelf(NO_CHOICE[choice.kind]);
      return;
    }
    const attempts = choice.unit.start(this.view);
    if (!attempts) {
      this.answerSelf(UPSTREAM_NONE);
      return;
    }
    this.#forwarding = new Forwarding(this, choice.unit, attempts, route.timeouts ?? choice.unit.timeouts);
    this.#forwarding.run();
  }

  #finish(status: number): void {
    this.over = true;
    const { context, reply, view } = this;
    this.#forwarding?.ended(status === CLIENT_CLOSED);
    if (!this.body.complete) this.body.discard();
    view.sentBytes = reply.sentBytes;
    view.receivedBytes += this.body.received;
    recordOutcome(context, view, status, this.global, this.pipeline);
    this.body.release();
  }

  #logCrash(error: unknown, message: string): void {
    logCrash(this.context, this.view, error, message);
  }
}

function toBytes(body: string | Buffer): Buffer {
  return typeof body === "string" ? Buffer.from(body, "utf8") : body;
}
