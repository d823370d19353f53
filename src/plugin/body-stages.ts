/**
 * What a response's body passes through on its way to the client, piece by piece: transforms of plugins in the order of
 * their priorities, and one content coding at the end.
 * Promise to both sides: nothing is written after `end`, `fail` or `close`; `close` is called exactly once, whatever happened.
 */
import type { RequestView } from "./request-view.ts";
import type { ResponseView } from "./response-view.ts";

/** The way on, as one stage sees it. */
export interface BodyOut {
  /** @returns false when it is full: write no more before `ready` of the flow is called */
  write(piece: Buffer): boolean;
  /** What was written shall reach the client now. */
  flush(): void;
  end(): void;
  /** This stage takes more again, after its `write` gave false. */
  ready(): void;
  /** The body cannot be completed: the client gets an error, or a connection that breaks off. */
  fail(error: unknown): void;
}

/** One body within a stage. */
export interface BodyFlow {
  /** @param piece the stage's own from now on @returns false when it takes no more before it calls `out.ready()` */
  write(piece: Buffer): boolean;
  /** No more is here for the moment: what the client can use of it should go on. Default: passed on. */
  flush?(): void;
  end(): void;
  /** The way on is free again, after `out.write` gave false. Default: passed on. */
  ready?(): void;
  /** Whether it was completed or not: let go of everything. */
  close?(): void;
}

export interface BodyTransform {
  /** The bytes go on as they came: the headers that describe them stay. */
  readonly keepsBody?: true;
  /** @param length of what comes, where it is known */
  open(out: BodyOut, length: number | undefined): BodyFlow;
}

/** A content coding (RFC 9110 section 8.4.1) that a plugin offers; the gateway takes the one that the client likes best. */
export interface ContentCoding {
  /** As Content-Encoding and Accept-Encoding name it. */
  readonly name: string;
  /** Whether caches are told that the answer depends on Accept-Encoding. */
  readonly vary: boolean;
  /** Whether this response is to be coded. @param length of its body, where it is known */
  isFor(view: RequestView, response: ResponseView, length: number | undefined): boolean;
  /** Whether there is memory for one more body. */
  hasRoom(length: number | undefined): boolean;
  readonly transform: BodyTransform;
}

/** Sees the pieces of a body, plain as the client gets them, and changes nothing. */
export interface BodyObserver {
  write(piece: Buffer): void;
  /** It is complete. */
  end?(): void;
  close?(): void;
}

/** A transform that lets everything through. @param open what looks on at one body */
export function observing(open: () => BodyObserver): BodyTransform {
  return {
    keepsBody: true,
    open(out) {
      const observer = open();
      return {
        write(piece) {
          observer.write(piece);
          return out.write(piece);
        },
        end() {
          observer.end?.();
          out.end();
        },
        close: () => observer.close?.(),
      };
    },
  };
}
