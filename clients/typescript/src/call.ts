import {
  Metadata,
  type CallOptions as GrpcOptions,
  type ClientUnaryCall,
  type ServiceError,
} from "@grpc/grpc-js";

/** What one call may be told. */
export interface CallOptions {
  /** Seconds until it is given up, retries included; 10 unless set. */
  timeoutSeconds?: number;
  /** Headers to send with it. */
  metadata?: Metadata;
}

type UnaryMethod<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: Partial<GrpcOptions>,
  callback: (error: ServiceError | null, response: Response) => void,
) => ClientUnaryCall;

/** Request and response of a method that takes one and gives one; `never` for a stream. */
type Unary<Method> = Method extends (...all: infer Parameters) => ClientUnaryCall
  ? Parameters extends [infer Request, Metadata, unknown, (error: never, response: infer Response) => void]
    ? { request: Request; response: Response }
    : never
  : never;

type UnaryName<Client> = {
  [Name in keyof Client]: [Unary<Client[Name]>] extends [never] ? never : Name;
}[keyof Client];

/**
 * The response of a unary call, as a promise.
 *
 *     const page = await call(agents, "listAgents", { filter: 'type = "mcp"' });
 *
 * @throws grpc's `ServiceError`; `reasonOf` says its stable reason.
 */
export function call<Client, Name extends UnaryName<Client>>(
  client: Client,
  name: Name,
  request: Unary<Client[Name]>["request"],
  { timeoutSeconds = 10, metadata = new Metadata() }: CallOptions = {},
): Promise<Unary<Client[Name]>["response"]> {
  const deadline = new Date(Date.now() + timeoutSeconds * 1000);
  const method = client[name] as UnaryMethod<typeof request, Unary<Client[Name]>["response"]>;
  return new Promise((resolve, reject) => {
    method.call(client, request, metadata, { deadline }, (error, response) =>
      error === null ? resolve(response) : reject(error),
    );
  });
}
