/**
 * error-page: pages of an operator's own for errors that the gateway answers; what an upstream answers is left alone.
 * All that is configured is in the plugin's metadata. Source: APISIX 3.18 error-page.
 */
import { type Static, Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";

const page = (title: string) =>
  Type.Optional(
    Type.Object({
      body: Defaulted(
        Type.String({
          default: `<html>\n<head><title>${title}</title></head>\n<body>\n<center><h1>${title}</h1></center>\n</body>\n</html>`,
          description: "What is sent; empty: the gateway's own page.",
        }),
      ),
      content_type: Defaulted(Type.String({ default: "text/html", description: "Its media type." })),
    }),
  );

const metadataSchema = Type.Object({
  enable: Defaulted(Type.Boolean({ default: false, description: "Whether the pages are sent." })),
  error_404: page("404 Not Found"),
  error_500: page("500 Internal Server Error"),
  error_502: page("502 Bad Gateway"),
  error_503: page("503 Service Unavailable"),
});

interface ErrorPage {
  readonly body: Buffer;
  readonly type: string;
}

const STATUS_MIN = 404;

export const errorPage = definePlugin({
  name: "error-page",
  version: 0.1,
  priority: 450,
  explain: "run",
  schema: Type.Object({}),
  metadataSchema,
  compile(_conf, env) {
    // True: it was checked, and compiling is done anew when it changes.
    const pages = pagesOf((env.metadata("error-page") ?? {}) as Partial<Static<typeof metadataSchema>>);
    if (pages.size === 0) return {};
    return {
      headerFilter(_view, response) {
        const found = response.source === "gateway" ? pages.get(response.status) : undefined;
        if (found === undefined) return;
        response.replaceBody(found.body);
        response.headers.set("Content-Type", found.type);
      },
    };
  },
});

/** Pages of other statuses are taken too, as APISIX does, if they have a body. */
function pagesOf(metadata: Readonly<Record<string, unknown>>): ReadonlyMap<number, ErrorPage> {
  const pages = new Map<number, ErrorPage>();
  if (metadata["enable"] !== true) return pages;
  for (const [name, value] of Object.entries(metadata)) {
    const status = Number(/^error_(\d{3})$/.exec(name)?.[1]);
    const { body, content_type: type = "text/html" } = (value ?? {}) as Record<string, unknown>;
    if (status >= STATUS_MIN && typeof body === "string" && body !== "" && typeof type === "string")
      pages.set(status, { body: Buffer.from(body), type });
  }
  return pages;
}
