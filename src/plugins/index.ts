/**
 * Every plugin that a node has built in; adding one is a file and a line here.
 */
import type { Plugin } from "../plugin/plugin.ts";
import { accessToken } from "./access-token/access-token.ts";
import { apiBreaker } from "./api-breaker.ts";
import { attachConsumerLabel } from "./attach-consumer-label.ts";
import { authorizationServer } from "./authorization-server/authorization-server.ts";
import { basicAuth } from "./basic-auth.ts";
import { brotli } from "./brotli.ts";
import { clientControl } from "./client-control.ts";
import { consumerRestriction } from "./consumer-restriction.ts";
import { cors } from "./cors.ts";
import { csrf } from "./csrf.ts";
import { echo } from "./echo.ts";
import { faultInjection } from "./fault-injection.ts";
import { forwardAuth } from "./forward-auth.ts";
import { gzip } from "./gzip.ts";
import { hmacAuth } from "./hmac-auth.ts";
import { httpLogger } from "./http-logger.ts";
import { ipRestriction } from "./ip-restriction.ts";
import { jwtAuth } from "./jwt-auth/jwt-auth.ts";
import { keyAuth } from "./key-auth.ts";
import { limitConn } from "./limit-conn.ts";
import { limitCount } from "./limit-count.ts";
import { limitReq } from "./limit-req.ts";
import { lokiLogger } from "./loki-logger.ts";
import { mocking } from "./mocking.ts";
import { multiAuth } from "./multi-auth.ts";
import { oauth2Client } from "./oauth2-client/oauth2-client.ts";
import { openidConnect } from "./openid-connect/openid-connect.ts";
import { opentelemetry } from "./opentelemetry/opentelemetry.ts";
import { prometheus } from "./prometheus/prometheus.ts";
import { proxyRewrite } from "./proxy-rewrite/proxy-rewrite.ts";
import { publicApi } from "./public-api.ts";
import { realIp } from "./real-ip.ts";
import { redirect } from "./redirect.ts";
import { refererRestriction } from "./referer-restriction.ts";
import { requestId } from "./request-id.ts";
import { requestValidation } from "./request-validation.ts";
import { responseRewrite } from "./response-rewrite.ts";
import { syslog } from "./syslog.ts";
import { tcpLogger } from "./tcp-logger.ts";
import { trafficSplit } from "./traffic-split.ts";
import { uaRestriction } from "./ua-restriction.ts";
import { udpLogger } from "./udp-logger.ts";
import { uriBlocker } from "./uri-blocker.ts";

export const PLUGINS: readonly Plugin[] = Object.freeze([
  accessToken,
  apiBreaker,
  attachConsumerLabel,
  authorizationServer,
  basicAuth,
  brotli,
  clientControl,
  consumerRestriction,
  cors,
  csrf,
  echo,
  faultInjection,
  forwardAuth,
  gzip,
  hmacAuth,
  httpLogger,
  ipRestriction,
  jwtAuth,
  keyAuth,
  limitConn,
  limitCount,
  limitReq,
  lokiLogger,
  mocking,
  multiAuth,
  oauth2Client,
  openidConnect,
  opentelemetry,
  prometheus,
  proxyRewrite,
  publicApi,
  realIp,
  redirect,
  refererRestriction,
  requestId,
  requestValidation,
  responseRewrite,
  syslog,
  tcpLogger,
  trafficSplit,
  uaRestriction,
  udpLogger,
  uriBlocker,
]);
