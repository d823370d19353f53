/**
 * Answers that come again and again (no route, a refusal, a token signed in this second), completed once: headers as clients
 * get them, and one text of head and body for lanes that write text.
 * Promise: what is kept follows from the answer and from settings alone, and is given for an answer that says the same still;
 * the date is put in anew. An answer made for one request is never kept.
 */
import { HeaderList } from "../plugin/headers.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import { ResponseView } from "../plugin/response-view.ts";
import { bodyOf } from "./gateway-pages.ts";
import { addCharset, dropUnsendable } from "./http/response-edit.ts";
import { flatText, responseHeadText } from "./http/response-text.ts";
import { isBodiless } from "./reply.ts";

/** A longer body is written as bytes. */
const BODY_MAX = 8_192;

export class FinishedAnswer {
  readonly status: number;
  /** As sent; copied by whoever changes them. */
  readonly lines: readonly string[];
  readonly bytes: Buffer;
  readonly hasDate: boolean;
  /** Of the answer it was made of, whose array may be somebody's to change. */
  readonly #headers: readonly string[];
  readonly #body: string;
  #text = "";
  #dateLine = "";

  constructor(answer: Answer, { status, headers }: ResponseView, bytes: Buffer) {
    this.status = status;
    this.lines = headers.lines;
    this.bytes = bytes;
    this.hasDate = headers.has("date");
    this.#headers = answer.headers.slice();
    this.#body = bytes.toString("latin1");
  }

  isOf({ headers }: Answer): boolean {
    const mine = this.#headers;
    if (headers.length !== mine.length) return false;
    for (let i = 0; i < mine.length; i++) if (headers[i] !== mine[i]) return false;
    return true;
  }

  /** Head and body. @param dateLine "" when the answer has a date of its own */
  text(dateLine: string, connection: "keep-alive" | "close"): string {
    if (connection === "close") return this.#make(dateLine, connection);
    if (this.#text === "" || dateLine !== this.#dateLine) {
      this.#text = flatText(this.#make(dateLine, connection));
      this.#dateLine = dateLine;
    }
    return this.#text;
  }

  #make(dateLine: string, connection: "keep-alive" | "close"): string {
    return responseHeadText(this.status, this.lines, this.bytes.length, dateLine, connection) + this.#body;
  }
}

/** Of one gateway. */
export class FinishedAnswers {
  #known = new WeakMap<Answer, FinishedAnswer>();
  #last: Answer | undefined;
  #ownHeaders: readonly string[] = [];

  /**
   * @param ownHeaders of the settings: what every response carries
   * @param statusMax of the lane
   * @returns undefined for an answer that did not come before, and for one that is not kept
   */
  find(answer: Answer, ownHeaders: readonly string[], statusMax: number): FinishedAnswer | undefined {
    if (ownHeaders !== this.#ownHeaders) {
      this.#ownHeaders = ownHeaders;
      this.#known = new WeakMap();
    }
    const known = this.#known.get(answer);
    if (known) return known.status <= statusMax && known.isOf(answer) ? known : undefined;
    if (answer !== this.#last) {
      this.#last = answer;
      return undefined;
    }
    const made = finish(answer, ownHeaders);
    if (made) this.#known.set(answer, made);
    return made && made.status <= statusMax ? made : undefined;
  }
}

/** @returns undefined for one that is not kept: it could be changed, is large, or holds what cannot be sent */
function finish(answer: Answer, ownHeaders: readonly string[]): FinishedAnswer | undefined {
  const { body, headers, status } = answer;
  if (!Object.isFrozen(answer) || Buffer.isBuffer(body) || isBodiless("", status)) return undefined;
  const list = new HeaderList(headers.slice());
  const bytes = bodyOf(answer, list);
  list.lines.push(...ownHeaders);
  addCharset(list);
  const response = new ResponseView(status, list, "gateway");
  const before = list.lines.length;
  dropUnsendable(response, { inc() {} });
  const isWhole = list.lines.length === before && response.status === status;
  if (!isWhole || bytes.length > BODY_MAX) return undefined;
  return new FinishedAnswer(answer, response, bytes);
}
