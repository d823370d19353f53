/**
 * Sends one request upstream: tries targets, and decides what may be tried again.
 * Promise: a try is repeated only when nothing was sent or the method is idempotent and the body is still here; never
 * after a response head. Each target is reported once. Source: docs/spec/proxy.md section 4.
 */
import type { AttemptOutcome, Attempts, Target, Timeouts, UpstreamUnit } from "../runtime/upstream/upstream-unit.ts";
import { requestFields } from "./exchange-end.ts";
import {
  failureAnswer,
  GRPC_DEADLINE,
  GRPC_TIMEOUT,
  type OwnAnswer,
  UPSTREAM_EXHAUSTED,
  UPSTREAM_OVERLOADED,
  UPSTREAM_RETRY_TIMEOUT,
  UPSTREAM_UNRESOLVED,
} from "./gateway-pages.ts";
import { isGrpc, readGrpcTimeout } from "./http/grpc.ts";
import type { Life } from "./reply.ts";
import { RequestRelay } from "./request-relay.ts";
import { ResponseRelay } from "./response-relay.ts";
import { FAILED, isIdempotent } from "./retry-rules.ts";
import { Deadline } from "./timer-wheel.ts";
import type { StreamLink, UpstreamCall, UpstreamFailure, UpstreamLink } from "./upstream/upstream-call.ts";
import { isConfiguredName, serverNameOf, upstreamHost } from "./upstream/upstream-head.ts";

export class Forwarding implements UpstreamCall {
  readonly method: string;
  readonly upgrade: string | undefined;
  /** The way back of what is sent here. */
  readonly response: ResponseRelay;
  readonly #request: RequestRelay;
  readonly #life: Life;
  readonly #unit: UpstreamUnit;
  readonly #attempts: Attempts;
  readonly #timeouts: Timeouts;
  /** What the failed tries are shown as. */
  #failures = "";
  #target: Target | undefined;
  #host = "";
  /** The name that TLS asks the target for is the configuration's, not the caller's. */
  #isNamed = true;
  #link: UpstreamLink | undefined;
  #startMs = 0;
  /** The connection is being established. */
  #waiting = false;
  #reported = true;
  #deadline: Deadline | undefined;

  constructor(life: Life, unit: UpstreamUnit, attempts: Attempts, timeouts: Timeouts) {
    this.#life = life;
    this.#unit = unit;
    this.#attempts = attempts;
    this.#timeouts = timeouts;
    this.method = life.view.method;
    this.response = new ResponseRelay(life, this.method);
    this.#request = new RequestRelay(life, this.response);
    this.upgrade = life.route?.websocket === true ? life.view.head.upgrade : undefined;
  }

  /** Statuses of the tries as X-APISIX-Upstream-Status shows them; undefined before the first result. */
  get shownStatuses(): string | undefined {
    const status = this.#life.view.upstream.statuses.at(-1) ?? 0; // 0 for a try that failed
    if (status === 0) return this.#failures === "" ? undefined : this.#failures;
    return this.#failures === "" ? `${status}` : `${this.#failures}, ${status}`;
  }

  /** Begins: small bodies are read first, so that they can be sent again. */
  run(): void {
    const { body, context } = this.#life;
    const late = this.#unit.http2 ? this.#armDeadline() : undefined;
    if (late) {
      this.#life.answerSelf(late);
      return;
    }
    const { bufferedBodyBytes } = context.settings;
    const announced = body.length;
    const isStreamed = announced === undefined ? this.#unit.http2 : announced > bufferedBodyBytes;
    const pending = isStreamed ? undefined : body.prepare(bufferedBodyBytes);
    if (pending === undefined) this.#begin();
    else void pending.then(() => this.#begin());
  }

  /** The time that a gRPC call gives counts from its arrival. @returns the answer when there is none left */
  #armDeadline(): OwnAnswer | undefined {
    const { context, view } = this.#life;
    const text = view.header("grpc-timeout");
    if (text === undefined || !isGrpc(view.header("content-type"))) return undefined;
    const givenMs = readGrpcTimeout(text);
    if (givenMs === undefined) return GRPC_TIMEOUT;
    const leftMs = view.startedMs + givenMs - context.clock.monotonicMs();
    if (leftMs <= 0) return GRPC_DEADLINE;
    this.#deadline = new Deadline(() => {
      this.#report({ kind: "aborted" });
      this.cancel();
      this.response.broken(GRPC_DEADLINE);
    });
    context.wheel.arm(this.#deadline, leftMs);
    return undefined;
  }

  /** The client can take more. */
  clientDrained(): void {
    this.response.resume();
  }

  /** The exchange is over. @param aborted by the client */
  ended(aborted: boolean): void {
    const { context, view } = this.#life;
    if (this.#deadline) context.wheel.remove(this.#deadline);
    const { headMs, sentMs, statuses } = view.upstream;
    const status = statuses.at(-1) ?? 0;
    if (headMs > 0 && status > 0) this.#report({ kind: "response", status, latencyMs: headMs - sentMs });
    else this.#report(aborted ? { kind: "aborted" } : { kind: "refused" });
    this.cancel();
  }

  /** Stops talking to the upstream. */
  cancel(): void {
    this.#link?.abandon(this);
    this.#link = undefined;
    this.#request.stop();
  }

  onConnected(link: UpstreamLink): void {
    this.#connected(link, () => this.#request.send(link, this.#host, this.upgrade));
  }

  onStream(link: StreamLink): void {
    const scheme = this.#unit.tls ? "https" : "http";
    this.#connected(link, () => this.#request.open(link, this.#host, scheme));
  }

  #connected(link: UpstreamLink, send: () => void): void {
    this.#link = link;
    const { context, view } = this.#life;
    // A connection that waited is given in the same turn.
    const nowMs = this.#waiting ? context.clock.monotonicMs() : this.#startMs;
    view.upstream.connectMs = nowMs - this.#startMs;
    view.upstream.sentMs = nowMs;
    try {
      send();
    } catch (error) {
      // Called by a socket: what a plugin put into the view must not get past here.
      this.#life.crash(error);
    }
  }

  onDrain(): void {
    if (this.response.isTunnel) this.#life.reply.resumeTunnel();
    else this.#request.resume();
  }

  onFailed(failure: UpstreamFailure): void {
    this.#link = undefined;
    this.#request.stop();
    if (this.#life.over) return;
    const { context, view } = this.#life;
    view.upstream.failure = failure.kind;
    view.upstream.endMs = context.clock.monotonicMs();
    const { response } = this;
    if (response.hasBegun) {
      this.#logFailure(failure);
      if (!response.isTunnel) this.#report({ kind: failure.kind === "read_timeout" ? "timeout" : "refused" });
      response.broken(FAILED[failure.kind]);
      return;
    }
    try {
      this.#failed(failure);
    } catch (error) {
      this.#life.crash(error);
    }
  }

  #begin(): void {
    const life = this.#life;
    const { body, reply } = life;
    if (life.over) return;
    try {
      if (body.error) {
        reply.endAfterThis();
        life.answerSelf(failureAnswer(body.error));
      } else this.#next();
    } catch (error) {
      life.crash(error);
    }
  }

  #next(): void {
    const next = this.#attempts.next();
    if (!(next instanceof Promise)) this.#try(next);
    else next.then((target) => this.#try(target)).catch((error: unknown) => this.#life.crash(error));
  }

  #try(target: Target | undefined): void {
    if (this.#life.over) {
      // The client left while a name was looked up; the target is counted as taken by now.
      if (target) this.#attempts.report({ kind: "aborted" });
      return;
    }
    if (!target) {
      this.#life.answerSelf(this.#attempts.tried.length === 0 ? UPSTREAM_UNRESOLVED : UPSTREAM_EXHAUSTED);
      return;
    }
    this.#reported = false;
    this.#take(target);
  }

  #take(target: Target): void {
    this.#target = target;
    const { upstream } = this.#life.view;
    upstream.node = target.id;
    upstream.address = target.address;
    upstream.port = target.port;
    this.#send(target, false);
  }

  #send(target: Target, fresh: boolean): void {
    const { context, global, pipeline, view } = this.#life;
    for (const handler of global.beforeProxy) handler(view);
    for (const handler of pipeline.beforeProxy) handler(view);
    view.upstream.failure = "";
    this.#host = upstreamHost(view, this.#unit, target);
    this.#startMs = context.clock.monotonicMs();
    this.#waiting = false;
    const serverName = this.#unit.tls || this.#unit.scheme !== "http" ? serverNameOf(this.#host) : "";
    this.#isNamed = serverName === "" || isConfiguredName(view, this.#unit, target, serverName);
    const link = context.client.call(this.#unit, target, serverName, this.#isNamed, this.#timeouts, fresh, this);
    this.#waiting = true;
    if (link) {
      this.#link ??= link;
      return;
    }
    this.#report({ kind: "aborted" }); // our own limit says nothing about the target
    this.#life.answerSelf(UPSTREAM_OVERLOADED);
  }

  #failed(failure: UpstreamFailure): void {
    const target = this.#target as Target; // true: a call was made
    const repeatable = this.#request.isRepeatable && (!failure.sent || isIdempotent(this.#life.view.method));
    if (repeatable && failure.reused && !failure.answered && failure.kind === "reset") {
      // The keep-alive race: the upstream closed while we wrote. Says nothing about the target.
      this.#send(target, true);
      return;
    }
    const timedOut = failure.kind.endsWith("timeout");
    const shown = timedOut ? "504" : "502";
    this.#failures = this.#failures === "" ? shown : `${this.#failures}, ${shown}`;
    this.#life.view.upstream.statuses.push(0);
    this.#logFailure(failure);
    if (this.#tryNextAddress(failure)) return;
    const isCallersFault = failure.nameRefused && !this.#isNamed;
    this.#report({ kind: isCallersFault ? "aborted" : timedOut ? "timeout" : "refused" });
    const verdict = repeatable ? this.#attempts.mayRetry() : "exhausted";
    if (verdict === "yes") {
      this.#life.context.metrics.retries.inc();
      this.#next();
    } else this.#life.answerSelf(verdict === "timeout" ? UPSTREAM_RETRY_TIMEOUT : FAILED[failure.kind]);
  }

  /** A name has several addresses: where one refuses, the others may not, and the node is not judged before. */
  #tryNextAddress(failure: UpstreamFailure): boolean {
    if (failure.kind !== "connect" || failure.nameRefused) return false;
    const target = this.#attempts.nextAddress();
    if (!target) return false;
    this.#life.context.metrics.retries.inc();
    this.#take(target);
    return true;
  }

  /** Once per target. */
  #report(outcome: AttemptOutcome): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#attempts.report(outcome);
  }

  #logFailure(failure: UpstreamFailure): void {
    const { context, view } = this.#life;
    const { id: target, address } = this.#target ?? {};
    const fields = { ...requestFields(view), target, address };
    context.errors.warn(FAILED[failure.kind].reason, fields, failure.message);
  }
}
