/**
 * A response before it goes to the client, whoever made it: header filters edit it in place.
 */
import { type BodyObserver, type BodyTransform, type ContentCoding, observing } from "./body-stages.ts";
import type { HeaderList } from "./headers.ts";
import { bytesOf } from "./request-view.ts";

/** A filter takes the body as a whole, a transform piece by piece. */
type BodyStage = BodyFilter | BodyTransform;

const NO_STAGES: readonly BodyStage[] = Object.freeze([]);
const NO_LINES: readonly string[] = Object.freeze([]);
const NO_CODINGS: readonly ContentCoding[] = Object.freeze([]);

export class ResponseView {
  status: number;
  readonly headers: HeaderList;
  /** "upstream", or "gateway" for answers of plugins and generated errors. */
  readonly source: "upstream" | "gateway";
  /** Set by `replaceBody`; the original body is then read and thrown away. */
  replacement: Buffer | undefined = undefined;
  /** What the body passes through, in this order. */
  stages: readonly BodyStage[] = NO_STAGES;
  /** Those that plugins offer. */
  codings: readonly ContentCoding[] = NO_CODINGS;
  /** Of the upstream's response, once its body has ended: flat [name, value, …]. */
  trailers: readonly string[] = [];
  /** Nobody knows its length before its end, as a stage changes it. */
  isChanged = false;

  /** The header lines as the upstream sent them, without framing; shared, nobody changes them. Empty for answers of the gateway. */
  readonly receivedLines: readonly string[];

  constructor(
    status: number,
    headers: HeaderList,
    source: "upstream" | "gateway",
    receivedLines: readonly string[] = NO_LINES,
  ) {
    this.status = status;
    this.headers = headers;
    this.source = source;
    this.receivedLines = receivedLines;
  }

  /** Sends these bytes instead of the body, past what was asked for it so far. Content-Length is made anew by the lane. */
  replaceBody(bytes: Buffer | string): void {
    this.replacement = bytesOf(bytes);
    this.stages = NO_STAGES;
    this.isChanged = false;
    this.#dropBodyFacts();
  }

  /**
   * Collects the whole body (at most `limitBytes`, beyond which it passes unfiltered or, where the
   * lane has sent nothing yet, answers 502) and sends what `filter` returns.
   */
  filterBody(filter: BodyFilter): void {
    if (typeof filter.apply !== "function" || !(filter.limitBytes >= 0)) throw new TypeError("not a body filter");
    this.#add(filter);
  }

  /** Sends the body through, as it comes. */
  transformBody(transform: BodyTransform): void {
    if (typeof transform.open !== "function") throw new TypeError("not a body transform");
    this.#add(transform);
  }

  /** Shows the body as it passes, as a plugin of this priority leaves it. @param open called when a body begins */
  observeBody(open: () => BodyObserver): void {
    this.#add(observing(open));
  }

  /** Offers a content coding; it comes after everything else, whatever the plugin's priority. */
  offerCoding(coding: ContentCoding): void {
    this.codings = [...this.codings, coding];
  }

  #add(stage: BodyStage): void {
    this.stages = [...this.stages, stage];
    if ("keepsBody" in stage && stage.keepsBody) return;
    this.isChanged = true;
    this.#dropBodyFacts();
  }

  #dropBodyFacts(): void {
    this.headers.remove("content-length");
    this.headers.remove("content-encoding");
    this.headers.remove("last-modified");
    this.headers.remove("etag");
  }
}

export interface BodyFilter {
  readonly limitBytes: number;
  /** Bytes as sent by the upstream; `encoding` is its Content-Encoding, if any. */
  apply(body: Buffer): Buffer;
}
