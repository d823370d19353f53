/**
 * Sends one request upstream: tries targets, decides what may be tried again, streams the request's body.
 * Promise: a try is repeated only when nothing was sent or the method is idempotent and the body is still here; never
 * after a response head. Each target is reported once. Source: docs/spec/proxy.md section 4.
 */
import { requestIdOf } from "../plugin/variables/variables.ts";
import type { AttemptOutcome, Attempts, Target, Timeouts, UpstreamUnit } from "../runtime/upstream/upstream-unit.ts";
import type { Exchange } from "./exchange.ts";
import {
  failureAnswer,
  UPSTREAM_EXHAUSTED,
  UPSTREAM_OVERLOADED,
  UPSTREAM_RETRY_TIMEOUT,
  UPSTREAM_UNRESOLVED,
} from "./gateway-pages.ts";
import type { Lifetime } from "./http/message.ts";
import type { BodySink } from "./http/request-body.ts";
import type { ResponseHead } from "./http/response-head.ts";
import { Relay } from "./response-relay.ts";
import { announcedLength, FAILED, isIdempotent } from "./retry-rules.ts";
import type { UpstreamCall, UpstreamFailure } from "./upstream/upstream-call.ts";
import type { UpstreamConnection } from "./upstream/upstream-connection.ts";
import { isConfiguredName, serverNameOf, upstreamHost, writeUpstreamHead } from "./upstream/upstream-head.ts";

/** Bodies up to this size go out in one piece with the head. */
const JOINED_BYTES = 8192;

export class Forwarding implements UpstreamCall, BodySink {
  readonly method: string;
  readonly upgrade: string | undefined;
  readonly #exchange: Exchange;
  readonly #unit: UpstreamUnit;
  readonly #attempts: Attempts;
  readonly #timeouts: Timeouts;
  /** What the failed tries look like, each followed by ", ". */
  #failures = "";
  #lastStatus = 0;
  #target: Target | undefined;
  #host = "";
  /** The name that TLS asks the target for is the configuration's, not the caller's. */
  #isNamed = true;
  #connection: UpstreamConnection | undefined;
  #relay: Relay | undefined;
  #startMs = 0;
  /** The connection is being established. */
  #waiting = false;
  #streamed = false;
  #chunked = false;
  #reported = true;

  constructor(exchange: Exchange, unit: UpstreamUnit, attempts: Attempts, timeouts: Timeouts) {
    this.#exchange = exchange;
    this.#unit = unit;
    this.#attempts = attempts;
    this.#timeouts = timeouts;
    this.method = exchange.view.method;
    this.upgrade = exchange.route?.websocket === true ? exchange.view.head.upgrade : undefined;
  }

  /** Statuses of the tries as X-APISIX-Upstream-Status shows them; undefined before the first result. */
  get shownStatuses(): string | undefined {
    return this.#lastStatus === 0 ? undefined : this.#failures + this.#lastStatus;
  }

  /** Begins: small bodies are read first, so that they can be sent again. */
  run(): void {
    const { body, context } = this.#exchange;
    const { bufferedBodyBytes } = context.settings;
    const announced = body.length;
    const pending =
      announced !== undefined && announced > bufferedBodyBytes ? undefined : body.prepare(bufferedBodyBytes);
    if (pending === undefined) this.#begin();
    else void pending.then(() => this.#begin());
  }

  /** The client can take more. */
  clientDrained(): void {
    this.#connection?.resume();
  }

  /** The exchange is over. @param aborted by the client */
  ended(aborted: boolean): void {
    const { view } = this.#exchange;
    const { headMs, sentMs, statuses } = view.upstream;
    const status = statuses.at(-1) ?? 0;
    if (headMs > 0 && status > 0) this.#report({ kind: "response", status, latencyMs: headMs - sentMs });
    else this.#report(aborted ? { kind: "aborted" } : { kind: "refused" });
    this.cancel();
  }

  /** Stops talking to the upstream. */
  cancel(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    connection?.abandon();
  }

  onConnected(connection: UpstreamConnection): void {
    this.#connection = connection;
    const { body, context, view } = this.#exchange;
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
      this.#exchange.crash(error);
      return;
    }
    if (!bytes) {
      this.#streamed = true;
      this.#chunked = length === "unknown";
      connection.write(head);
      body.stream(this);
      return;
    }
    if (bytes.length === 0) connection.write(head);
    else if (bytes.length <= JOINED_BYTES) connection.write(head + bytes.toString("latin1"));
    else {
      connection.cork();
      connection.write(head);
      connection.write(bytes);
      connection.uncork();
    }
    connection.finish();
  }

  onBody(chunk: Buffer): boolean {
    const connection = this.#connection;
    if (!connection || chunk.length === 0) return true;
    if (!this.#chunked) return connection.write(chunk);
    connection.cork();
    connection.write(`${chunk.length.toString(16)}\r\n`);
    connection.write(chunk);
    const flowing = connection.write("\r\n");
    connection.uncork();
    return flowing;
  }

  onBodyEnd(): void {
    const connection = this.#connection;
    if (!connection) return;
    if (this.#chunked) connection.write("0\r\n\r\n");
    connection.finish();
  }

  onDrain(): void {
    if (this.#relay?.isTunnel) this.#relay.upstreamDrained();
    else if (this.#streamed) this.#exchange.body.resume();
  }

  onInterim(head: ResponseHead): void {
    this.#exchange.reply.interim(head.status, head.lines);
  }

  onHead(head: ResponseHead): void {
    const { context, view } = this.#exchange;
    view.upstream.headMs = context.clock.monotonicMs();
    this.#note(head.status, head.status);
    try {
      this.#startRelay(head);
    } catch (error) {
      this.#exchange.crash(error);
    }
  }

  onData(chunk: Buffer, lifetime: Lifetime): void {
    this.#relay?.data(chunk, lifetime);
  }

  onEnd(): void {
    this.#connection = undefined;
    try {
      this.#relay?.end();
    } catch (error) {
      this.#exchange.crash(error);
    }
  }

  onFlush(): void {
    if (this.#relay) this.#exchange.reply.flush();
  }

  onFailed(failure: UpstreamFailure): void {
    this.#connection = undefined;
    if (this.#exchange.over) return;
    if (this.#relay) {
      this.#logFailure(failure);
      if (!this.#relay.isTunnel) this.#report({ kind: failure.kind === "read_timeout" ? "timeout" : "refused" });
      this.#relay.broken(FAILED[failure.kind]);
      return;
    }
    try {
      this.#failed(failure);
    } catch (error) {
      this.#exchange.crash(error);
    }
  }

  #begin(): void {
    const exchange = this.#exchange;
    const { body, reply } = exchange;
    if (exchange.over) return;
    try {
      if (body.error) {
        reply.endAfterThis();
        exchange.answerSelf(failureAnswer(body.error));
      } else this.#next();
    } catch (error) {
      exchange.crash(error);
    }
  }

  #next(): void {
    const next = this.#attempts.next();
    if (!(next instanceof Promise)) this.#try(next);
    else next.then((target) => this.#try(target)).catch((error: unknown) => this.#exchange.crash(error));
  }

  #try(target: Target | undefined): void {
    if (this.#exchange.over) {
      // The client left while a name was looked up; the target is counted as taken by now.
      if (target) this.#attempts.report({ kind: "aborted" });
      return;
    }
    if (!target) {
      this.#exchange.answerSelf(this.#attempts.tried.length === 0 ? UPSTREAM_UNRESOLVED : UPSTREAM_EXHAUSTED);
      return;
    }
    this.#reported = false;
    this.#take(target);
  }

  #take(target: Target): void {
    this.#target = target;
    const { upstream } = this.#exchange.view;
    upstream.node = target.id;
    upstream.address = target.address;
    upstream.port = target.port;
    this.#send(target, false);
  }

  #send(target: Target, fresh: boolean): void {
    const { context, global, pipeline, view } = this.#exchange;
    for (const handler of global.beforeProxy) handler(view);
    if (pipeline) for (const handler of pipeline.beforeProxy) handler(view);
    this.#host = upstreamHost(view, this.#unit, target);
    this.#startMs = context.clock.monotonicMs();
    this.#waiting = false;
    const serverName = this.#unit.tls || this.#unit.scheme !== "http" ? serverNameOf(this.#host) : "";
    this.#isNamed = serverName === "" || isConfiguredName(view, this.#unit, target, serverName);
    const connection = context.client.call(this.#unit, target, serverName, this.#isNamed, this.#timeouts, fresh, this);
    this.#waiting = true;
    if (connection) {
      this.#connection ??= connection;
      return;
    }
    this.#report({ kind: "aborted" }); // our own limit says nothing about the target
    this.#exchange.answerSelf(UPSTREAM_OVERLOADED);
  }

  #failed(failure: UpstreamFailure): void {
    const target = this.#target as Target; // true: a call was made
    const repeatable = !this.#streamed && (!failure.sent || isIdempotent(this.#exchange.view.method));
    if (repeatable && failure.reused && !failure.answered && failure.kind === "reset") {
      // The keep-alive race: the upstream closed while we wrote. Says nothing about the target.
      this.#send(target, true);
      return;
    }
    const timedOut = failure.kind.endsWith("timeout");
    this.#note(0, timedOut ? 504 : 502);
    this.#logFailure(failure);
    if (this.#tryNextAddress(failure)) return;
    const isCallersFault = failure.nameRefused && !this.#isNamed;
    this.#report({ kind: isCallersFault ? "aborted" : timedOut ? "timeout" : "refused" });
    const verdict = repeatable ? this.#attempts.mayRetry() : "exhausted";
    if (verdict === "yes") {
      this.#exchange.context.metrics.retries.inc();
      this.#next();
    } else this.#exchange.answerSelf(verdict === "timeout" ? UPSTREAM_RETRY_TIMEOUT : FAILED[failure.kind]);
  }

  /** A name has several addresses: where one refuses, the others may not, and the node is not judged before. */
  #tryNextAddress(failure: UpstreamFailure): boolean {
    if (failure.kind !== "connect" || failure.nameRefused) return false;
    const target = this.#attempts.nextAddress();
    if (!target) return false;
    this.#exchange.context.metrics.retries.inc();
    this.#take(target);
    return true;
  }

  #startRelay(head: ResponseHead): void {
    const connection = this.#connection as UpstreamConnection; // true: the head came over it
    const { body, reply } = this.#exchange;
    // An early reply: the rest of the body goes nowhere, so the client's connection must not be used again.
    if (!body.complete && head.status !== 101) reply.endAfterThis();
    const relay = new Relay(this.#exchange, connection, this.method);
    this.#relay = relay;
    relay.head(head);
  }

  /** Once per target. */
  #report(outcome: AttemptOutcome): void {
    if (this.#reported) return;
    this.#reported = true;
    this.#attempts.report(outcome);
  }

  #note(status: number, shown: number): void {
    this.#exchange.view.upstream.statuses.push(status);
    if (this.#lastStatus !== 0) this.#failures += `${this.#lastStatus}, `;
    this.#lastStatus = shown;
  }

  #logFailure(failure: UpstreamFailure): void {
    const { context, view } = this.#exchange;
    const { id: target, address } = this.#target ?? {};
    const fields = { request_id: requestIdOf(view), route: view.route?.id, target, address };
    context.errors.warn(FAILED[failure.kind].reason, fields, failure.message);
  }
}
