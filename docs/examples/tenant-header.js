// Sends the tenant of a host upstream, and refuses hosts of nobody: a.shop.example → X-Tenant: a
import { Defaulted, definePlugin, jsonAnswer, Type } from "jotgate";

export const tenantHeader = definePlugin({
  name: "tenant-header",
  version: 1,
  priority: 1500, // after authentication, before limits
  schema: Type.Object({
    domain: Type.String({ minLength: 1 }),
    header: Defaulted(Type.String({ default: "X-Tenant" })),
  }),
  compile(conf, env) {
    // Once, when configuration changes.
    const ending = `.${conf.domain}`;
    const refusal = jsonAnswer(404, { message: "unknown tenant" }, "tenant_unknown");
    const refused = env.metrics.counter("tenant_refused_total", "Requests of no tenant").child();
    return {
      // For each request.
      rewrite(view) {
        if (view.host.endsWith(ending)) {
          view.headers.set(conf.header, view.host.slice(0, -ending.length));
          return undefined; // go on
        }
        refused.inc();
        return refusal;
      },
    };
  },
});
