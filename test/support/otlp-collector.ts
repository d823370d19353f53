/**
 * A collector of OTLP over HTTP that decodes what it gets, by the field numbers of opentelemetry/proto/trace/v1/trace.proto.
 */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import protobuf from "protobufjs";

const PROTO = `syntax = "proto3";
message Request { repeated ResourceSpans resource_spans = 1; }
message ResourceSpans { Resource resource = 1; repeated ScopeSpans scope_spans = 2; }
message Resource { repeated KeyValue attributes = 1; }
message ScopeSpans { repeated Span spans = 2; }
message KeyValue { string key = 1; AnyValue value = 2; }
message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
message Status { string message = 2; int32 code = 3; }
message Span {
  bytes trace_id = 1; bytes span_id = 2; string trace_state = 3; bytes parent_span_id = 4; string name = 5; int32 kind = 6;
  fixed64 start_time_unix_nano = 7; fixed64 end_time_unix_nano = 8; repeated KeyValue attributes = 9; Status status = 15;
}`;
const Request = protobuf.parse(PROTO).root.lookupType("Request");

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** "" of a root. */
  readonly parent: string;
  readonly state: string;
  readonly name: string;
  readonly kind: "internal" | "server" | "client";
  /** Milliseconds since 1970. */
  readonly startMs: number;
  readonly endMs: number;
  readonly isError: boolean;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly resource: Readonly<Record<string, unknown>>;
}

export interface Collector {
  /** `127.0.0.1:port` */
  readonly address: string;
  readonly spans: CollectedSpan[];
  /** Of each request that came, whatever was answered. */
  readonly requests: { readonly path: string; readonly headers: IncomingHttpHeaders }[];
  /** Instead of taking what comes; undefined: takes it. */
  answer: ((response: ServerResponse) => void) | undefined;
  close(): Promise<void>;
}

export async function openCollector(): Promise<Collector> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    collector.requests.push({ path: request.url ?? "", headers: request.headers });
    if (collector.answer) return collector.answer(response);
    collector.spans.push(...decode(Buffer.concat(chunks)));
    response.writeHead(200, { "Content-Type": "application/x-protobuf" }).end();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const collector: Collector = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans: [],
    requests: [],
    answer: undefined,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
  return collector;
}

interface WireAttributes {
  readonly attributes: readonly { readonly key: string; readonly value: Readonly<Record<string, unknown>> }[];
}
interface WireSpan extends WireAttributes {
  readonly traceId: Buffer;
  readonly spanId: Buffer;
  readonly parentSpanId: Buffer;
  readonly traceState: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly status?: { readonly code: number };
}
interface WireRequest {
  readonly resourceSpans: readonly {
    readonly resource: WireAttributes;
    readonly scopeSpans: readonly { readonly spans: readonly WireSpan[] }[];
  }[];
}

const KINDS = ["internal", "internal", "server", "client"] as const;

function decode(bytes: Buffer): CollectedSpan[] {
  const options = { longs: String, bytes: Buffer, arrays: true, defaults: false };
  // True: it is what the descriptor above says.
  const { resourceSpans } = Request.toObject(Request.decode(bytes), options) as WireRequest;
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) => spans.map((span) => spanOf(span, membersOf(resource)))),
  );
}

function spanOf(span: WireSpan, resource: CollectedSpan["resource"]): CollectedSpan {
  return {
    traceId: span.traceId.toString("hex"),
    spanId: span.spanId.toString("hex"),
    parent: span.parentSpanId?.toString("hex") ?? "",
    state: span.traceState ?? "",
    name: span.name,
    kind: KINDS[span.kind] ?? "internal",
    startMs: Number(span.startTimeUnixNano) / 1e6,
    endMs: Number(span.endTimeUnixNano) / 1e6,
    isError: span.status?.code === 2,
    attributes: membersOf(span),
    resource,
  };
}

/** Integers come as texts, as all 64 bits do. */
function membersOf({ attributes }: WireAttributes): Readonly<Record<string, unknown>> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
