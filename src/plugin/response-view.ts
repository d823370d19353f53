/**
 * A response before it goes to the client, whoever made it: header filters edit it in place.
 */

import type { HeaderList } from "./headers.ts";
import { bytesOf } from "./request-view.ts";

export class ResponseView {
  status: number;
  readonly headers: HeaderList;
  /** "upstream", or "gateway" for answers of plugins and generated errors. */
  readonly source: "upstream" | "gateway";
  /** Set by `replaceBody`; the original body is then read and thrown away. */
  replacement: Buffer | undefined = undefined;
  /** Set by `filterBody`; applied in order to the whole body. */
  readonly filters: BodyFilter[] = [];

  constructor(status: number, headers: HeaderList, source: "upstream" | "gateway") {
    this.status = status;
    this.headers = headers;
    this.source = source;
  }

  /** Sends these bytes instead of the body. Content-Length is made anew by the lane. */
  replaceBody(bytes: Buffer | string): void {
    this.replacement = bytesOf(bytes);
    this.#dropBodyFacts();
  }

  /**
   * Collects the whole body (at most `limitBytes`, beyond which it passes unfiltered or, where the
   * lane has sent nothing yet, answers 502) and sends what `filter` returns.
   */
  filterBody(filter: BodyFilter): void {
    if (typeof filter.apply !== "function" || !(filter.limitBytes >= 0)) throw new TypeError("not a body filter");
    this.filters.push(filter);
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
