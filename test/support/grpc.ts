/**
 * gRPC peers made of `@grpc/grpc-js` with texts as messages: a server whose methods are the four kinds of calls, and clients.
 */
import {
  Client,
  type ClientDuplexStream,
  type ClientOptions,
  type ClientReadableStream,
  credentials,
  type Metadata,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type StatusObject,
  type sendUnaryData,
} from "@grpc/grpc-js";

const write = (text: string): Buffer => Buffer.from(text);
const read = (bytes: Buffer): string => bytes.toString();

function method(name: string, requestStream: boolean, responseStream: boolean) {
  const texts = {
    requestSerialize: write,
    requestDeserialize: read,
    responseSerialize: write,
    responseDeserialize: read,
  };
  return { path: `/echo.Echo/${name}`, requestStream, responseStream, ...texts };
}

const ECHO = {
  one: method("One", false, false),
  fail: method("Fail", false, false),
  wait: method("Wait", false, false),
  many: method("Many", false, true),
  sum: method("Sum", true, false),
  chat: method("Chat", true, true),
};

export interface GrpcServer {
  readonly port: number;
  /** Metadata of the calls that came, in order. */
  readonly calls: readonly Metadata[];
  /** Of `wait`: those that were cancelled. */
  readonly cancelled: () => number;
  readonly server: Server;
  close(): void;
}

/**
 * `one` gives the text back with metadata; `fail` ends with status 9; `wait` never answers; `many` sends as many messages as
 * the text says; `sum` gives the number of messages; `chat` answers each.
 */
export async function openGrpcServer(
  options: Readonly<Record<string, number>> = {},
  tls?: { readonly cert: string; readonly key: string; readonly ca?: string },
): Promise<GrpcServer> {
  const calls: Metadata[] = [];
  let cancelled = 0;
  const server = new Server(options);
  server.addService(ECHO, {
    one(call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) {
      calls.push(call.metadata);
      const head = call.metadata.clone();
      head.set("x-head", "h");
      call.sendMetadata(head);
      const trailers = call.metadata.clone();
      trailers.set("x-trailer", "t");
      done(null, `${call.request}!`, trailers);
    },
    fail(call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) {
      calls.push(call.metadata);
      done({ code: 9, details: `no: ${call.request} ä` });
    },
    wait(call: ServerUnaryCall<string, string>) {
      calls.push(call.metadata);
      call.on("cancelled", () => cancelled++);
    },
    many(call: ServerWritableStream<string, string>) {
      calls.push(call.metadata);
      const [count = 0, bytes = 4] = call.request.split(" ").map(Number);
      const text = "m".repeat(bytes);
      let at = 0;
      const fill = (): void => {
        while (at < count) {
          at++;
          if (!call.write(text)) {
            call.once("drain", fill);
            return;
          }
        }
        call.end();
      };
      fill();
    },
    sum(call: ServerReadableStream<string, string>, done: sendUnaryData<string>) {
      calls.push(call.metadata);
      let count = 0;
      call.on("data", () => count++);
      call.on("end", () => done(null, String(count)));
    },
    chat(call: ServerDuplexStream<string, string>) {
      calls.push(call.metadata);
      call.on("data", (text: string) => call.write(`re ${text}`));
      call.on("end", () => call.end());
    },
  });
  const listening = tls
    ? ServerCredentials.createSsl(
        tls.ca === undefined ? null : Buffer.from(tls.ca),
        [{ cert_chain: Buffer.from(tls.cert), private_key: Buffer.from(tls.key) }],
        tls.ca !== undefined,
      )
    : ServerCredentials.createInsecure();
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", listening, (error, bound) => (error ? reject(error) : resolve(bound))),
  );
  return { port, calls, cancelled: () => cancelled, server, close: () => server.forceShutdown() };
}

export interface Answered {
  readonly text: string | undefined;
  readonly status: StatusObject;
  readonly head: Metadata | undefined;
}

export interface GrpcClient {
  readonly client: Client;
  /** A unary call. */
  call(name: keyof typeof ECHO, text: string, metadata: Metadata, options?: { deadline?: number }): Promise<Answered>;
  many(text: string, metadata: Metadata): ClientReadableStream<string>;
  sum(metadata: Metadata): { readonly send: (text: string) => void; readonly end: () => Promise<string> };
  chat(metadata: Metadata): ClientDuplexStream<string, string>;
  close(): void;
}

export function openGrpcClient(port: number, options: ClientOptions = {}, ca?: string): GrpcClient {
  const secure = ca === undefined ? credentials.createInsecure() : credentials.createSsl(Buffer.from(ca));
  const client = new Client(`127.0.0.1:${port}`, secure, { "grpc.use_local_subchannel_pool": 1, ...options });
  return {
    client,
    call: (name, text, metadata, callOptions = {}) =>
      new Promise((resolve) => {
        let head: Metadata | undefined;
        let answer: string | undefined;
        const call = client.makeUnaryRequest(
          ECHO[name].path,
          write,
          read,
          text,
          metadata,
          callOptions,
          (_error, got?: string) => {
            answer = got;
          },
        );
        call.on("metadata", (got) => {
          head = got;
        });
        call.on("status", (status) => setImmediate(() => resolve({ text: answer, status, head })));
      }),
    many: (text, metadata) => client.makeServerStreamRequest(ECHO.many.path, write, read, text, metadata),
    sum(metadata) {
      let settle: (result: Error | string) => void = () => {};
      const done = new Promise<Error | string>((resolve) => {
        settle = resolve;
      });
      const call = client.makeClientStreamRequest<string, string>(ECHO.sum.path, write, read, metadata, (error, got) =>
        settle(error ?? got ?? ""),
      );
      return {
        send: (text) => void call.write(text),
        end: async () => {
          call.end();
          const result = await done;
          if (result instanceof Error) throw result;
          return result;
        },
      };
    },
    chat: (metadata) => client.makeBidiStreamRequest(ECHO.chat.path, write, read, metadata),
    close: () => client.close(),
  };
}
