/**
 * Sends one request upstream: tries targets, decides what may be tried again, streams the request's body.
 * Promise: a try is repeated only when nothing was sent or the method is idempotent and the body is still here; never
 * after a response head. Each target is reported once. Source: docs/spec/proxy.md section 4.
 */
import type { CodedError } from "../base/errors.ts";
import type { AttemptOutcome, Attempts, Target, Timeouts, UpstreamUnit } from "../runtime/upstream/upstream-unit.ts";
import { requestFields } from "./exchange-end.ts";
import {
  failureAnswer,
  UPSTREAM_EXHAUSTED,
  UPSTREAM_OVERLOADED,
  UPSTREAM_RETRY_TIMEOUT,
  UPSTREAM_UNRESOLVED,
} from "./gateway-pages.ts";
import type { BodySink } from "./http/request-body.ts";
import type { Life } from "./reply.ts";
import { ResponseRelay } from "./response-relay.ts";
import { announcedLength, FAILED, isIdempotent } from "./retry-rules.ts";
import type { UpstreamCall, UpstreamFailure, UpstreamLink } from "./upstream/upstream-call.ts";
import { isConfiguredName, serverNameOf, upstreamHost, writeUpstreamHead } from "./upstream/upstream-head.ts";

/** Bodies up to this size go out in one piece with the head. */
const JOINED_BYTES = 8192;

export class Forwarding implements UpstreamCall, BodySink {
  readonly method: string;
  readonly upgrade: string | undefined;
  /** The way back of what is sent here. */
  readonly response: ResponseRelay;
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
  #streamed = false;
  #chunked = false;
  #reported = true;

  constructor(life: Life, unit: UpstreamUnit, attempts: Attempts, timeouts: Timeouts) {
    this.#life = life;
    this.#unit = unit;
    this.#attempts = attempts;
    this.#timeouts = timeouts;
    this.method = life.view.method;
    this.response = new ResponseRelay(life, this.method);
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
    const { bufferedBodyBytes } = context.settings;
    const announced = body.length;
    const pending =
      announced !== undefined && announced > bufferedBodyBytes ? undefined : body.prepare(bufferedBodyBytes);
    if (pending === undefined) this.#begin();
    else void pending.then(() => this.#begin());
  }

  /** The client can take more. */
  clientDrained(): void {
    this.response.resume();
  }

  /** The exchange is over. @param aborted by the client */
  ended(aborted: boolean): void {
    const { view } = this.#life;
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
  }

  onConnected(link: UpstreamLink): void {
    this.#link = link;
    const { body, context, view } = this.#life;
    // A connection that waited is given in the same turn.
    const nowMs = this.#waiting ? context.clock.monotonicMs() : this.#startMs;
    view.upstream.connectMs = nowMs - this.#startMs;
    view.upstream.sentMs = nowMs;
    const bytes = body.bytes;
    const length = bytes ? announcedLength(bytes.length, view.method) : (body.length ?? "unknown");
    let head: string | undefined;
    try {
      head = writeUpstreamHead(view, this.#host, length, this.upgrade, context.metrics.droppedHeaders);
      if (head === undefined) throw new TypeError("a plugin set a method or host that cannot be sent");
    } catch (error) {
      // Called by a socket: what a plugin put into the view must not get past here.
      this.#life.crash(error);
      return;
    }
    if (!bytes) {
      this.#streamed = true;
      this.#chunked = length === "unknown";
      link.write(head);
      body.stream(this);
      return;
    }
    if (bytes.length === 0) link.write(head);
    else if (bytes.length <= JOINED_BYTES) link.write(head + bytes.toString("latin1"));
    else {
      link.cork();
      link.write(head);
      link.write(bytes);
      link.uncork();
    }
    link.finish();
  }

  onBody(chunk: Buffer): boolean {
    const link = this.#link;
    if (!link || chunk.length === 0) return true;
    if (!this.#chunked) return link.write(chunk);
    link.cork();
    link.write(`${chunk.length.toString(16)}\r\n`);
    link.write(chunk);
    const flowing = link.write("\r\n");
    link.uncork();
    return flowing;
  }

  onBodyEnd(): void {
    const link = this.#link;
    if (!link) return;
    if (this.#chunked) link.write("0\r\n\r\n");
    link.finish();
  }

  onBodyTooLarge(error: CodedError): void {
    this.#life.reply.endAfterThis();
    this.response.broken(failureAnswer(error));
  }

  onDrain(): void {
    const { body, reply } = this.#life;
    if (this.response.isTunnel) reply.resumeTunnel();
    else if (this.#streamed) body.resume();
  }

  onFailed(failure: UpstreamFailure): void {
    this.#link = undefined;
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
    const repeatable = !this.#streamed && (!failure.sent || isIdempotent(this.#life.view.method));
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
