import {
  Channel,
  credentials,
  InterceptingCall,
  type ChannelOptions,
  type Interceptor,
} from "@grpc/grpc-js";

import { orca } from "./generated/index.js";

const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;
const LOCAL = /^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/;

/** Which calls grpc repeats by itself, when, and how often. */
const SERVICE_CONFIG = {
  methodConfig: [
    {
      name: [{}],
      retryPolicy: {
        maxAttempts: 5,
        initialBackoff: "0.2s",
        maxBackoff: "3s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
      },
    },
    {
      // Deleting is not idempotent, streams must be begun anew by who knows what was answered, and
      // to GetHealth UNAVAILABLE is an answer.
      name: [
        { service: "orca.v1.AgentService", method: "DeleteAgent" },
        { service: "orca.v1.AgentService", method: "StreamTelemetry" },
        { service: "orca.v1.WorkflowService", method: "DeleteWorkflow" },
        { service: "orca.v1.WorkflowService", method: "StreamEvents" },
        { service: "orca.v1.SystemService", method: "GetHealth" },
      ],
    },
  ],
};

/** Where the server is, and who asks. */
export interface ConnectOptions {
  /** `HOST:PORT`, or `https://HOST[:PORT]` for TLS; else `$ORCA_ADDRESS`, else `localhost:50051`. */
  address?: string;
  /** Token to send; else `$ORCA_TOKEN`, else none. */
  token?: string;
}

/** One channel to one server, and a client of each service on it. */
export interface Connection {
  agents: orca.v1.AgentServiceClient;
  workflows: orca.v1.WorkflowServiceClient;
  trust: orca.v1.TrustServiceClient;
  reports: orca.v1.ReportServiceClient;
  system: orca.v1.SystemServiceClient;
  /** Closes the channel. */
  close(): void;
}

/**
 * Clients of one server; they connect with the first call.
 *
 * @throws Error if a token would travel unencrypted to another machine.
 */
export function connect(options: ConnectOptions = {}): Connection {
  const address = options.address ?? process.env["ORCA_ADDRESS"] ?? "localhost:50051";
  const token = options.token ?? process.env["ORCA_TOKEN"] ?? "";
  const tls = address.startsWith("https://");
  const host = address.replace(/^https?:\/\//, "");
  const local = LOCAL.test(host);
  if (token !== "" && !tls && !local) {
    throw new Error(`The token would travel unencrypted to ${host}: use https://${host}.`);
  }
  const trusted = tls ? credentials.createSsl() : credentials.createInsecure();
  const target = /:\d+$/.test(host) ? host : `${host}:${tls ? 443 : 50051}`;
  const channelOverride = new Channel(target, trusted, channelOptions(local));
  const shared = { channelOverride, interceptors: token === "" ? [] : [sending(token)] };
  return {
    agents: new orca.v1.AgentServiceClient(target, trusted, shared),
    workflows: new orca.v1.WorkflowServiceClient(target, trusted, shared),
    trust: new orca.v1.TrustServiceClient(target, trusted, shared),
    reports: new orca.v1.ReportServiceClient(target, trusted, shared),
    system: new orca.v1.SystemServiceClient(target, trusted, shared),
    close: () => channelOverride.close(),
  };
}

function channelOptions(local: boolean): ChannelOptions {
  return {
    "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
    "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
    "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
    // A proxy of the environment cannot reach this machine's loopback.
    "grpc.enable_http_proxy": local ? 0 : 1,
  };
}

function sending(token: string): Interceptor {
  return (options, next) =>
    new InterceptingCall(next(options), {
      start(metadata, listener, proceed) {
        metadata.set("authorization", `Bearer ${token}`);
        proceed(metadata, listener);
      },
    });
}
