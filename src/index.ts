/**
 * The public API of the package: what plugins outside of it are written and tested with. See docs/writing-plugins.md.
 * Promise: what is exported here follows semantic versioning; nothing else does.
 */
export { Type } from "typebox";
export { type Clock, FakeClock, sleep, type Timer } from "./base/clock.ts";
export { CodedError, type ErrorCode, isCodedError } from "./base/errors.ts";
export type { Fields, Log } from "./base/log.ts";
export type { Counter, Family, Gauge, Histogram, Metrics } from "./base/metrics.ts";
export { compilePattern, type Pattern, patternError } from "./base/regex.ts";
export { checkExpression } from "./model/expression.ts";
export type { BodyFlow, BodyObserver, BodyOut, BodyTransform } from "./plugin/body-stages.ts";
export { attachConsumer, openRefusals, type Refusals } from "./plugin/caller-identity.ts";
export { HeaderList } from "./plugin/headers.ts";
export type { InternalApi } from "./plugin/internal-api.ts";
export {
  type CompileEnv,
  type CredentialDefinition,
  Defaulted,
  definePlugin,
  type NodeEnv,
  type PhaseHandler,
  type PhaseResult,
  type Plugin,
  type PluginDefinition,
  type PluginPhases,
  type PluginSettings,
  type ResourceInfo,
  type StateRegistry,
} from "./plugin/plugin.ts";
export { type Answer, bareAnswer, jsonAnswer, textAnswer } from "./plugin/plugin-answer.ts";
export type { Consumer, Credential, CredentialTable } from "./plugin/plugin-consumer.ts";
export type {
  Connection,
  RequestBody,
  RequestHead,
  RequestView,
  RouteInfo,
  UpstreamProperties,
} from "./plugin/request-view.ts";
export type { BodyFilter, ResponseView } from "./plugin/response-view.ts";
export {
  answerHeader,
  bodyText,
  type ConsumerInput,
  type EnvInput,
  makeEnv,
  metricValue,
  runPhases,
  type TestEnv,
} from "./plugin/testkit/testkit.ts";
export { makeResponse, makeView, type ResponseInput, type ViewInput } from "./plugin/testkit/testkit-view.ts";
export { loadBodyVariables } from "./plugin/variables/body-variables.ts";
export { type Condition, compileCondition } from "./plugin/variables/condition.ts";
export type { Variable, VariableValue } from "./plugin/variables/query.ts";
export { compileTemplate, safeHeaderValue, type Template } from "./plugin/variables/template.ts";
export { compileVariable } from "./plugin/variables/variables.ts";
