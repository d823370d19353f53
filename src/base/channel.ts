/**
 * Typed messages between two processes of one node: `tell` goes one way, `call` is answered.
 * Promise: what arrives is checked before anybody sees it and dropped when it is wrong; calls that wait are bounded and
 * end by answer, time-out or the end of the channel; errors with a code arrive with that code.
 */
import type { Static, TSchema } from "typebox";
import type { Clock, Timer } from "./clock.ts";
import { CodedError, ERROR_CODES, type ErrorCode, isCodedError, messageOf } from "./errors.ts";
import type { Log } from "./log.ts";
import { openLimitedWarn, type Warn } from "./log.ts";
import { compileSchema } from "./schema/schema.ts";

/** The way to the other process; it keeps order and may end at any time. */
export interface Pipe {
  /** Never throws; what cannot be delivered is lost. */
  send(message: unknown): void;
  receive(listener: (message: unknown) => void): void;
}

/** @returns the value, or undefined when it is not what it should be */
export type Reader<T> = (value: unknown) => T | undefined;

export interface Tell<Body> {
  readonly name: string;
  readonly body: Reader<Body>;
}

export interface Call<Body, Reply> extends Tell<Body> {
  readonly reply: Reader<Reply>;
}

/** Values of this schema pass as they are. */
export function reader<S extends TSchema>(schema: S): Reader<Static<S>> {
  const validator = compileSchema(schema);
  // True: the schema says so.
  return (value) => (validator.check(value) === undefined ? (value as Static<S>) : undefined);
}

interface ChannelOptions {
  readonly pipe: Pipe;
  readonly clock: Clock;
  readonly log: Log;
  /** Calls that may wait for an answer; further ones fail at once. Default 10,000. */
  readonly waitingMax?: number;
}

/** Envelopes: [TELL, name, body], [CALL, name, body, id], [DONE, id, reply], [FAILED, id, text, code]. */
const TELL = 0;
const CALL = 1;
const DONE = 2;
const FAILED = 3;

interface Waiting {
  readonly take: (reply: unknown) => void;
  readonly fail: (error: Error) => void;
}

export class Channel {
  readonly #pipe: Pipe;
  readonly #clock: Clock;
  readonly #warn: Warn;
  readonly #waitingMax: number;
  readonly #tells = new Map<string, (body: unknown) => boolean>();
  readonly #calls = new Map<string, (body: unknown) => unknown>();
  readonly #waiting = new Map<number, Waiting>();
  #lastId = 0;
  #closed = false;

  constructor({ pipe, clock, log, waitingMax = 10_000 }: ChannelOptions) {
    this.#pipe = pipe;
    this.#clock = clock;
    this.#warn = openLimitedWarn(log, clock);
    this.#waitingMax = waitingMax;
    pipe.receive((message) => this.#receive(message));
  }

  tell<Body>(message: Tell<Body>, body: Body): void {
    if (!this.#closed) this.#pipe.send([TELL, message.name, body]);
  }

  /** @throws (as a rejection) what the other side threw, or CodedError WORKER_UNAVAILABLE when it does not answer */
  call<Body, Reply>(message: Call<Body, Reply>, body: Body, timeoutMs: number): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(unavailable(`${message.name}: the other process is gone`));
      if (this.#waiting.size >= this.#waitingMax) return reject(unavailable(`${message.name}: too many calls wait`));
      const id = ++this.#lastId;
      const end = (): void => {
        timer.cancel();
        this.#waiting.delete(id);
      };
      const fail = (error: Error): void => {
        end();
        reject(error);
      };
      const timer: Timer = this.#clock.after(timeoutMs, () => fail(unavailable(`${message.name}: no answer in time`)));
      this.#waiting.set(id, {
        fail,
        take: (given) => {
          const reply = message.reply(given);
          if (reply === undefined) return fail(unavailable(`${message.name}: the answer is not what it should be`));
          end();
          resolve(reply);
        },
      });
      this.#pipe.send([CALL, message.name, body, id]);
    });
  }

  onTell<Body>(message: Tell<Body>, listener: (body: Body) => void): void {
    this.#tells.set(message.name, (given) => {
      const body = message.body(given);
      if (body !== undefined) listener(body);
      return body !== undefined;
    });
  }

  onCall<Body, Reply>(message: Call<Body, Reply>, answer: (body: Body) => Reply | Promise<Reply>): void {
    this.#calls.set(message.name, (given) => {
      const body = message.body(given);
      if (body === undefined) throw unavailable(`${message.name}: the call is not what it should be`);
      return answer(body);
    });
  }

  /** Whoever waits is told. Idempotent. */
  close(): void {
    this.#closed = true;
    for (const waiting of this.#waiting.values()) waiting.fail(unavailable("the other process is gone"));
  }

  #receive(message: unknown): void {
    if (this.#closed || !Array.isArray(message)) return;
    const [kind, first, second, third] = message as readonly unknown[];
    if (kind === TELL) {
      if (this.#tells.get(String(first))?.(second) !== true) this.#warn({ message: String(first) }, "not understood");
    } else if (kind === CALL) void this.#answer(String(first), second, third);
    else if (kind === DONE) this.#waiting.get(Number(first))?.take(second);
    else if (kind === FAILED) this.#waiting.get(Number(first))?.fail(toError(second, third));
  }

  async #answer(name: string, body: unknown, id: unknown): Promise<void> {
    try {
      const answer = this.#calls.get(name);
      if (!answer) throw unavailable(`${name}: nobody answers such calls`);
      const reply = await answer(body);
      if (!this.#closed) this.#pipe.send([DONE, id, reply]);
    } catch (error) {
      const code = isCodedError(error) ? error.code : undefined;
      if (!this.#closed) this.#pipe.send([FAILED, id, messageOf(error), code]);
    }
  }
}

function unavailable(message: string): CodedError {
  return new CodedError("WORKER_UNAVAILABLE", { message });
}

function toError(text: unknown, code: unknown): CodedError {
  const known = typeof code === "string" && Object.hasOwn(ERROR_CODES, code);
  return new CodedError(known ? (code as ErrorCode) : "WORKER_UNAVAILABLE", { message: String(text) });
}
