/**
 * What authentication plugins have in common: who the caller is goes upstream in X-Consumer-* headers, and a refusal
 * is a 401 with a challenge, or the anonymous consumer.
 * Promise: after `attachConsumer` those headers say exactly what the gateway knows; a value that cannot stand in a
 * header is left out, never escaped and never an error. Source: docs/spec/jwt-auth.md sections 4 to 6.
 */

import type { NodeEnv } from "./plugin.ts";
import { type Answer, jsonAnswer } from "./plugin-answer.ts";
import type { CallerLines, Consumer, Credential } from "./plugin-consumer.ts";
import type { RequestView } from "./request-view.ts";

/**
 * Makes the caller that consumer: in the view, and for the upstream.
 * @param credentialId undefined for the consumer's own @param by what was found in a table of credentials, if anything was
 */
export function attachConsumer(
  view: RequestView,
  consumer: Consumer,
  credentialId: string | undefined,
  by?: Credential,
): void {
  view.consumer = consumer;
  view.credentialId = credentialId;
  view.identifiedBy = by;
  const caller = callerLinesOf(consumer, credentialId);
  view.callerLines = caller;
  const { headers } = view;
  for (const lower of IDENTITY) headers.remove(lower);
  for (const text of caller.lines) headers.lines.push(text);
}

const IDENTITY = ["x-consumer-username", "x-credential-identifier", "x-consumer-custom-id"] as const;

const known = new WeakMap<Consumer, CallerLines>();

/** @returns what was made for its last request where that came with the same credential */
function callerLinesOf(consumer: Consumer, credentialId: string | undefined): CallerLines {
  const before = known.get(consumer);
  if (before && before.credentialId === credentialId) return before;
  const lines: string[] = [];
  const add = (name: string, value: string | undefined): void => {
    if (value !== undefined && isHeaderValue(value)) lines.push(name, value);
  };
  add("X-Consumer-Username", consumer.username);
  add("X-Credential-Identifier", credentialId);
  add("X-Consumer-Custom-ID", consumer.customId);
  let text = "";
  for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
  const made = { credentialId, lines, text };
  known.set(consumer, made);
  return made;
}

/** Whether a text can be a header value: no CR, LF, NUL or other control, nothing outside latin1, no blank at an end. */
export function isHeaderValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code < 0x20 && code !== 0x09) || code === 0x7f || code > 0xff) return false;
  }
  return text === text.trim() && text !== "";
}

/** What the challenge of a bearer token says beside the realm (RFC 6750 section 3.1). */
type ChallengeError = "invalid_token";

/** What a configuration of an authentication plugin answers; made when it is compiled. */
export interface Refusals {
  /** A 401 with the challenge; the text is the same for all reasons in compatibility mode `strict`. */
  answer(message: string, reason: string, error?: ChallengeError): Answer;
  /**
   * Ends a failed authentication: attaches the anonymous consumer when one is configured and exists
   * (then undefined: go on), else gives the answer to send.
   */
  authenticationFailed(view: RequestView, answer: Answer): Answer | undefined;
}

interface RefusalOptions {
  /** Value of WWW-Authenticate, e.g. `Bearer realm="jwt"`. */
  readonly challenge: string;
  /** Name of the consumer that stands in for callers who failed. */
  readonly anonymousConsumer: string | undefined;
}

/** In `strict` a refused caller learns nothing about why. */
const UNIFORM_MESSAGE = "Invalid user authorization";

export function openRefusals(env: NodeEnv, options: RefusalOptions): Refusals {
  const { anonymousConsumer } = options;
  const headersOf = (error?: ChallengeError): readonly string[] =>
    Object.freeze(["WWW-Authenticate", error ? `${options.challenge}, error="${error}"` : options.challenge]);
  const strict = env.settings.compat === "strict";
  const answer = (message: string, reason: string, error?: ChallengeError): Answer =>
    jsonAnswer(401, { message: strict ? UNIFORM_MESSAGE : message }, reason, headersOf(error));
  const noAnonymous = answer("Invalid user authorization", "anonymous_consumer_missing");
  return {
    answer,
    authenticationFailed(view, refusal) {
      if (anonymousConsumer === undefined) return refusal;
      const consumer = env.consumer(anonymousConsumer);
      if (!consumer) return noAnonymous;
      attachConsumer(view, consumer, undefined);
      return undefined;
    },
  };
}
