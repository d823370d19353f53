/**
 * For tests of plugins: makes the request and response views that a lane would make, from a few words.
 * Only what the input names differs from a plain GET by 203.0.113.7 over http; the path is decoded once, not normalised.
 */
import { CodedError } from "../../base/errors.ts";
import { otherReadings } from "../../base/net/path-readings.ts";
import { HeaderList } from "../headers.ts";
import { type Connection, type RequestBody, type RequestHead, RequestView, type RouteInfo } from "../request-view.ts";
import { ResponseView } from "../response-view.ts";

/** Names to values (a list repeats the line), or flat [name, value, …] where order and spelling matter. */
type HeaderInput = Readonly<Record<string, string | readonly string[]>> | readonly string[];

export interface ViewInput {
  readonly method?: string;
  /** Origin-form target, e.g. "/a?b=c". */
  readonly target?: string;
  readonly headers?: HeaderInput;
  readonly body?: string | Buffer;
  readonly connection?: Partial<Connection>;
  readonly httpVersion?: RequestHead["httpVersion"];
  readonly upgrade?: string;
  readonly startedMs?: number;
  readonly route?: Partial<RouteInfo>;
}

/** A request as plugins see it, Host `gateway.test` unless the headers say otherwise. */
export function makeView(input: ViewInput = {}): RequestView {
  const target = input.target ?? "/";
  const mark = target.indexOf("?");
  const escapedPath = mark < 0 ? target : target.slice(0, mark);
  const headers = new HeaderList(linesOf(input.headers ?? {}));
  if (!headers.has("host")) headers.append("Host", "gateway.test");
  const hostHeader = headers.get("host") ?? "";
  const view = new RequestView({
    method: input.method ?? "GET",
    target,
    path: decodeURIComponent(escapedPath),
    otherPaths: otherReadings(decodeURIComponent(escapedPath)) ?? [],
    escapedPath,
    query: mark < 0 ? undefined : target.slice(mark + 1),
    hostHeader,
    host: hostHeader.replace(/:\d+$/, "").toLowerCase(),
    httpVersion: input.httpVersion ?? "1.1",
    headers,
    connection: { ...CONNECTION, ...input.connection },
    body: bodyOf(input.body),
    upgrade: input.upgrade,
    startedMs: input.startedMs ?? 0,
  });
  view.route = { ...ROUTE, ...input.route };
  return view;
}

export interface ResponseInput {
  readonly status?: number;
  readonly headers?: HeaderInput;
  readonly source?: ResponseView["source"];
}

/** A response before header filters; from the upstream unless the input says otherwise. */
export function makeResponse(input: ResponseInput = {}): ResponseView {
  const source = input.source ?? "upstream";
  const lines = linesOf(input.headers ?? {});
  return new ResponseView(
    input.status ?? 200,
    new HeaderList(lines.slice()),
    source,
    source === "upstream" ? lines : [],
  );
}

const CONNECTION: Connection = {
  peerAddress: "203.0.113.7",
  peerPort: 40_000,
  localAddress: "127.0.0.1",
  localPort: 9080,
  scheme: "http",
  sni: undefined,
};

const ROUTE: RouteInfo = {
  id: "r1",
  name: "",
  serviceId: "",
  serviceName: "",
  matchedUri: "/*",
  matchedHost: "",
};

function linesOf(input: HeaderInput): string[] {
  if (Array.isArray(input)) return [...(input as readonly string[])];
  return Object.entries(input).flatMap(([name, value]) =>
    typeof value === "string" ? [name, value] : (value as readonly string[]).flatMap((one) => [name, one]),
  );
}

/** A body in memory; `read` gives what `replace` has put there, as the lane would send it. */
function bodyOf(input: string | Buffer | undefined): RequestBody {
  let bytes = Buffer.from(input ?? "");
  let limitBytes = Number.POSITIVE_INFINITY;
  return {
    length: bytes.length,
    read: (most) =>
      bytes.length <= Math.min(most, limitBytes)
        ? Promise.resolve(bytes)
        : Promise.reject(
            new CodedError("REQUEST_TOO_LARGE", { message: `the body is above ${Math.min(most, limitBytes)} bytes` }),
          ),
    limit: (most) => {
      limitBytes = Math.min(limitBytes, most);
    },
    observe(observer) {
      if (bytes.length > 0) observer.write(bytes);
      observer.end?.();
      observer.close?.();
    },
    replace: (made) => {
      bytes = Buffer.from(made);
    },
  };
}
