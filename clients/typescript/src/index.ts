/**
 * Client of ORCA AgentMesh over gRPC.
 *
 * `orca.v1` has the messages and services, written from the contract; `connect` opens a channel to
 * one server, and `call` makes one call of it.
 */

export { google, orca } from "./generated/index.js";
export { call, type CallOptions } from "./call.js";
export { connect, type Connection, type ConnectOptions } from "./connection.js";
export { reasonOf } from "./errors.js";
