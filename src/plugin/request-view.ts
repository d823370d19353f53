/**
 * One request as the pipeline and the plugins see it; both lanes make one, neither is visible from here.
 * Promise: `path` is the one path policy sees and the upstream gets; edits of `headers`, `method`, `query`,
 * `upstreamPath` and `upstreamHost` go upstream, nothing else does.
 */
import type { BodyObserver } from "./body-stages.ts";
import type { ClientCertificate } from "./client-certificate.ts";
import type { HeaderList } from "./headers.ts";
import type { CallerLines, Consumer, Credential } from "./plugin-consumer.ts";
import type { ResponseView } from "./response-view.ts";

/** Facts of the client's connection; one object serves all its requests. */
export interface Connection {
  /** Textual IP of the peer, IPv4 never in mapped IPv6 form; "unix:" for unix sockets. */
  readonly peerAddress: string;
  readonly peerPort: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly scheme: "http" | "https";
  /** Server name of the TLS handshake, lower case. */
  readonly sni: string | undefined;
  /** What the peer says of others is believed (`trusted_addresses`). Default: it is not. */
  readonly isTrusted?: boolean;
  /** That of the TLS handshake; undefined: none was sent. */
  readonly clientCertificate?: ClientCertificate | undefined;
}

/** What the matched route says about itself to plugins, logs and metrics. */
export interface RouteInfo {
  readonly id: string;
  readonly name: string;
  readonly serviceId: string;
  readonly serviceName: string;
  /** The pattern that matched, as configured. */
  readonly matchedUri: string;
  readonly matchedHost: string;
}

export interface RequestHead {
  readonly method: string;
  /** Origin-form target exactly as received. */
  readonly target: string;
  /** Normalised and decoded once, without query; see base/net/path.ts. */
  readonly path: string;
  /** What looser readers, an upstream perhaps, could take `path` for; empty for nearly every request. */
  readonly otherPaths: readonly string[];
  /** `path` escaped again for the wire. */
  readonly escapedPath: string;
  /** Raw query without "?"; undefined when the target has no "?". */
  readonly query: string | undefined;
  /** Host header as received. */
  readonly hostHeader: string;
  /** Host in lower case without port and trailing dot. */
  readonly host: string;
  readonly httpVersion: "1.0" | "1.1" | "2.0";
  readonly headers: HeaderList;
  readonly connection: Connection;
  readonly body: RequestBody;
  /** Client's protocol upgrade token in lower case ("websocket"), if any. */
  readonly upgrade: string | undefined;
  /** `compat: strict`: conditions on a body that two programs may read differently refuse the request. */
  readonly strict?: boolean;
  /** Monotonic milliseconds when the head was complete. */
  readonly startedMs: number;
}

/** The trace that follows a request; ids in hexadecimal digits. */
export interface RequestTrace {
  readonly traceId: string;
  /** Of the gateway's own span. */
  readonly spanId: string;
  /** Whether the variables `opentelemetry_*` have values. */
  readonly hasVariables: boolean;
  /** The W3C `traceparent` of that span. */
  readonly parent: string;
  /** Where it is noted what the request waited for; undefined: nobody asks. */
  readonly waits: Wait[] | undefined;
}

/** A phase that a plugin did not end at once; monotonic milliseconds, 0 until it ended. */
export interface Wait {
  readonly plugin: string;
  readonly startMs: number;
  endMs: number;
}

/** A place for facts of one upstream attempt; filled by the lane. */
export interface UpstreamProperties {
  /** "host:port" of the last target tried. */
  node: string;
  address: string;
  port: number;
  /** Status of each try in order; 0 where none arrived. */
  readonly statuses: number[];
  /** How the last try failed (`connect`, `reset`, `read_timeout`, …); "" when it did not. */
  failure: string;
  connectMs: number;
  /** Monotonic milliseconds; 0 until it happened. */
  sentMs: number;
  headMs: number;
  endMs: number;
}

export class RequestView {
  readonly head: RequestHead;
  readonly headers: HeaderList;
  readonly connection: Connection;
  readonly body: RequestBody;
  readonly startedMs: number;
  /** Path that policy sees; never changes. */
  readonly path: string;
  /** Host that policy sees; never changes. */
  readonly host: string;

  /** Method sent upstream. */
  method: string;
  /** Raw query sent upstream, without "?". */
  query: string | undefined;
  /** Escaped path sent upstream. */
  upstreamPath: string;
  /** Host sent upstream whatever pass_host says; undefined leaves it to the upstream's pass_host. */
  upstreamHost: string | undefined = undefined;
  /** Client address after real-ip; what limits, lists and `remote_addr` mean. */
  clientAddress: string;
  clientPort: number;
  /** The route that matched; undefined before matching and on a 404. */
  route: RouteInfo | undefined = undefined;
  /** Parameters captured by the path pattern. */
  uriParams: ReadonlyMap<string, string> | undefined = undefined;
  consumer: Consumer | undefined = undefined;
  /** Id of the credential that authenticated; undefined when the consumer itself did. */
  credentialId: string | undefined = undefined;
  /** That credential, or the consumer's own; undefined where the plugin does not say which it was. */
  identifiedBy: Credential | undefined = undefined;
  /** What was added to `headers` for that caller. */
  callerLines: CallerLines | undefined = undefined;
  /** An upstream chosen by a plugin (traffic-split); opaque handle made by CompileEnv.upstream. */
  upstreamChoice: unknown = undefined;
  /** The answer of whichever phase ended the request; undefined when the upstream answers. */
  reason = "";
  /** Set by a plugin that traces; before it ran, and where none does, undefined. */
  trace: RequestTrace | undefined = undefined;
  /** The response as far as it is known; set before header filters run. */
  response: ResponseView | undefined = undefined;
  readonly upstream: UpstreamProperties = {
    node: "",
    address: "",
    port: 0,
    statuses: [],
    failure: "",
    connectMs: 0,
    sentMs: 0,
    headMs: 0,
    endMs: 0,
  };
  /** Bytes of request and response, counted by the lane. */
  receivedBytes = 0;
  sentBytes = 0;
  #store: Map<string, unknown> | undefined;

  constructor(head: RequestHead) {
    this.head = head;
    this.headers = head.headers;
    this.connection = head.connection;
    this.body = head.body;
    this.startedMs = head.startedMs;
    this.path = head.path;
    this.host = head.host;
    this.method = head.method;
    this.query = head.query;
    this.upstreamPath = head.escapedPath;
    this.clientAddress = head.connection.peerAddress;
    this.clientPort = head.connection.peerPort;
  }

  /** First value of a request header. @param lower the name in lower case */
  header(lower: string): string | undefined {
    return this.headers.get(lower);
  }

  /** Whether a judgement of the path is the same for every reader of it; see `otherPaths`. */
  isAlike<T>(judge: (view: RequestView) => T): boolean {
    const { otherPaths } = this.head;
    if (otherPaths.length === 0) return true;
    const judged = judge(this);
    return otherPaths.every((path) => judge(this.#readAs(path)) === judged);
  }

  #readAs(path: string): RequestView {
    const other = new RequestView({ ...this.head, path, otherPaths: [] });
    other.clientAddress = this.clientAddress;
    other.clientPort = this.clientPort;
    other.route = this.route;
    other.uriParams = this.uriParams;
    other.consumer = this.consumer;
    other.credentialId = this.credentialId;
    other.response = this.response;
    other.#store = this.#store;
    return other;
  }

  /** Notes of plugins to each other for the length of this request, e.g. `jwt_auth_payload`. */
  note(name: string): unknown {
    return this.#store?.get(name);
  }

  setNote(name: string, value: unknown): void {
    this.#store ??= new Map();
    this.#store.set(name, value);
  }
}

/**
 * The request body as plugins see it. The lane owns the bytes: what a plugin has read is still sent upstream.
 */
export interface RequestBody {
  /** Bytes announced by Content-Length, 0 when there is no body, undefined when chunked. */
  readonly length: number | undefined;
  /**
   * Reads the whole body once; later calls return the same bytes.
   * Throws CodedError REQUEST_TOO_LARGE above `limitBytes`, CLIENT_ABORTED when the client went away.
   */
  read(limitBytes: number): Promise<Buffer>;
  /** Fails with REQUEST_TOO_LARGE once more than these bytes came. Only narrows. */
  limit(bytes: number): void;
  /** Sends these bytes upstream instead. */
  replace(bytes: Buffer): void;
  /** Shows what goes upstream, as it comes from the client; `end` only when all of it came. Call it before it is sent. */
  observe(observer: BodyObserver): void;
}

/** Text becomes UTF-8. Throws TypeError for what is neither text nor bytes. */
export function bytesOf(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError("a body must be a Buffer or a text");
}
