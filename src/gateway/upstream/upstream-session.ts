/**
 * One HTTP/2 connection to an upstream, which carries many requests.
 * Promise: no stream before the peer's SETTINGS, none beyond its limit, none after its GOAWAY; a peer that is dead is found by a
 * PING, one that floods with control frames is left. Source: RFC 9113 sections 3.4, 5.1.2, 6.7, 6.8 and 10.5.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from "node:http2";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { PoolSettings, Timeouts } from "../../runtime/upstream/upstream-unit.ts";
import { Allowance } from "../http/allowance.ts";
import { Timed, type TimerWheel } from "../timer-wheel.ts";
import type { ResponseLimits } from "./upstream-response.ts";
import { type ConnectOptions, connectUpstream, isNameRefusal } from "./upstream-socket.ts";

/** A session takes no more streams than this, whatever its peer allows: the next one is opened then. */
const STREAMS_MAX = 256;
const STREAM_WINDOW_BYTES = 262_144;
const CONNECTION_WINDOW_BYTES = 16_777_216;
const SESSION_MEBIBYTES = 64;
const INVALID_FRAMES_MAX = 100;
/** PING and SETTINGS frames of the peer. */
const NOISE = { burst: 1_000, perSecond: 100 };
/** Silence while something is due, after which a PING is sent; a share of the read time-out when that is shorter. */
const SILENCE_MS = 15_000;
/** Bytes that say nothing, silence, and the wait for an answer to the PING take less than the whole together. */
const SILENT_SHARE = 0.3;
/** The same once a PING alone was answered: servers take offence at more (gRPC's default is five minutes). */
const QUIET_MS = 300_000;

/** The pool of a session. */
interface SessionHome {
  readonly wheel: TimerWheel;
  readonly limits: ResponseLimits;
  readonly facts: PoolSettings;
  /** It can take streams, or more of them. */
  ready(session: UpstreamSession): void;
  /** Nothing runs on it. @returns false when it is not wanted */
  rest(session: UpstreamSession): boolean;
  /** It takes no stream any more. */
  leaving(session: UpstreamSession): void;
  /** Its socket is closed. Called once. */
  gone(session: UpstreamSession): void;
}

export class UpstreamSession extends Timed {
  readonly #home: SessionHome;
  readonly #session: ClientHttp2Session;
  readonly #socket: Socket;
  /** What the most patient of its calls allows. */
  #silenceMs = 0;
  #limit = 0;
  #isReady = false;
  #isLeaving = false;
  #streams = 0;
  #requests = 0;
  #pinging = false;
  #readBytes = 0;
  #noise: Allowance;
  /** Streams beyond were not looked at. */
  lastStream = Number.POSITIVE_INFINITY;
  /** Why it is lost, or could not be opened. */
  lostBy: string | undefined;
  nameRefused = false;
  timedOut = false;

  constructor(home: SessionHome, options: ConnectOptions, timeouts: Timeouts) {
    super();
    this.#home = home;
    this.#noise = new Allowance(NOISE.burst, NOISE.perSecond, home.wheel.nowMs);
    const socket = connectUpstream(options, ["h2"]);
    this.#socket = socket;
    const { headBytes, headerLines } = home.limits;
    const session = connect(`${options.tls ? "https" : "http"}://upstream`, {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES, maxHeaderListSize: headBytes },
      maxHeaderListPairs: headerLines + 16,
      maxSessionMemory: SESSION_MEBIBYTES,
      // An option of the sessions of both sides, which the types have on one only.
      ...{ maxSessionInvalidFrames: INVALID_FRAMES_MAX },
    });
    this.#session = session;
    session.on("connect", () => this.#connected());
    session.on("remoteSettings", ({ maxConcurrentStreams = STREAMS_MAX }) => this.#settled(maxConcurrentStreams));
    session.on("ping", () => this.#spend());
    session.on("goaway", (code, last) => this.#away(code, last));
    session.on("error", (error: NodeJS.ErrnoException) => {
      this.lostBy ??= error.message;
      this.nameRefused = isNameRefusal(error.code);
    });
    session.on("close", () => {
      home.wheel.remove(this);
      this.#isLeaving = true;
      this.lostBy ??= "upstream closed the connection";
      home.gone(this);
    });
    home.wheel.arm(this, timeouts.connectMs);
  }

  /** How many streams it can still take. */
  get room(): number {
    return this.isUsable ? Math.max(0, this.#limit - this.#streams) : 0;
  }

  get isUsable(): boolean {
    return this.#isReady && !this.#isLeaving && !this.#session.closed && !this.#session.destroyed;
  }

  /** It was established, and is not lost. */
  get isOpen(): boolean {
    return this.#isReady && !this.#session.destroyed;
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Its peer takes no streams, for now. */
  get isShut(): boolean {
    return this.#isReady && this.#limit === 0;
  }

  get isReused(): boolean {
    return this.#requests > 1;
  }

  /** @param readMs how long this call waits for its upstream; a dead one is found in less, unless another waits longer */
  request(fields: OutgoingHttpHeaders, options: ClientSessionRequestOptions, readMs: number): ClientHttp2Stream {
    const stream = this.#session.request(fields, options);
    const silenceMs = Math.min(SILENCE_MS, readMs * SILENT_SHARE);
    this.#silenceMs = this.#streams === 0 ? silenceMs : Math.max(this.#silenceMs, silenceMs);
    this.#streams++;
    this.#requests++;
    if (this.#streams === 1) {
      this.#readBytes = this.#socket.bytesRead;
      this.#home.wheel.arm(this, this.#silenceMs);
    }
    if (this.#requests >= this.#home.facts.requests) this.#leave();
    return stream;
  }

  /** A stream of it was closed. */
  closed(): void {
    this.#streams--;
    if (this.#streams > 0) this.#home.ready(this);
    else if (this.#isLeaving || !this.#home.rest(this)) this.close();
    else {
      this.#home.wheel.arm(this, this.#home.facts.idleMs);
      this.#home.ready(this);
    }
  }

  /** Takes no more streams; goes when those it has are done. */
  close(): void {
    this.#leave();
    if (!this.#session.closed) this.#session.close();
  }

  destroy(): void {
    this.#leave();
    this.#session.destroy();
    this.#home.gone(this); // its place is free now
  }

  override onDeadline(): void {
    if (this.#session.destroyed) return; // its "close" is on the way
    if (!this.#isReady) {
      this.timedOut = true;
      this.#lose("connect timed out");
    } else if (this.#streams === 0) this.close();
    else if (this.#pinging) this.#lose("no answer to a PING");
    else this.#lookForLife();
  }

  #lookForLife(): void {
    const { wheel } = this.#home;
    wheel.arm(this, this.#silenceMs);
    if (this.#socket.bytesRead !== this.#readBytes) {
      this.#readBytes = this.#socket.bytesRead;
      return;
    }
    this.#pinging = this.#session.ping((error) => {
      this.#pinging = false;
      if (error || this.#session.destroyed || this.#streams === 0) return;
      this.#readBytes = this.#socket.bytesRead;
      wheel.arm(this, QUIET_MS);
    });
  }

  #connected(): void {
    const socket = this.#socket;
    if (socket instanceof TLSSocket && socket.alpnProtocol !== "h2") this.#lose("upstream does not speak HTTP/2");
  }

  #settled(streams: number): void {
    if (this.#session.destroyed || !this.#spend()) return;
    this.#limit = Math.min(streams, STREAMS_MAX);
    if (!this.#isReady) {
      this.#isReady = true;
      this.#session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
      this.#home.wheel.arm(this, this.#home.facts.idleMs);
    }
    this.#home.ready(this);
  }

  #spend(): boolean {
    if (this.#noise.take(this.#home.wheel.nowMs)) return true;
    this.#lose("upstream floods with control frames", constants.NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
  }

  #away(code: number, lastStream: number): void {
    this.lastStream = Math.min(this.lastStream, lastStream);
    this.lostBy ??= `upstream went away with code ${code}`;
    this.#leave();
  }

  #lose(message: string, code?: number): void {
    this.lostBy ??= message;
    this.#leave();
    this.#session.destroy(new Error(message), code);
  }

  #leave(): void {
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    this.#home.leaving(this);
  }
}
