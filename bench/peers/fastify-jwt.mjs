// Peer: the gateway most Node teams would write in an afternoon: fastify, @fastify/jwt, @fastify/http-proxy.

import proxy from "@fastify/http-proxy";
import jwt from "@fastify/jwt";
import fastify from "fastify";

const [port, upstream, secret] = process.argv.slice(2);
const app = fastify({ logger: false });
await app.register(jwt, { secret, cache: true });
await app.register(proxy, { upstream, prefix: "/plain" });
await app.register(proxy, {
  upstream,
  prefix: "/jwt",
  preHandler: async (request, reply) => {
    try {
      await request.jwtVerify();
    } catch {
      return reply.code(401).send({ message: "failed to verify jwt" });
    }
  },
});
app.get("/sign", async () => app.jwt.sign({ key: "bench" }, { expiresIn: 3600 }));
await app.listen({ port: Number(port), host: "127.0.0.1" });
