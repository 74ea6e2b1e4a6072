import type { ServiceError } from "@grpc/grpc-js";

import { google } from "./generated/index.js";

const ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo";

/**
 * The stable reason of a refused call, such as `TELEMETRY_INVALID`; `undefined` if the server gave
 * none, as when it cannot be reached. docs/errors.md has them all.
 */
export function reasonOf(error: unknown): string | undefined {
  const metadata = (error as Partial<ServiceError>).metadata;
  const [details] = metadata?.get("grpc-status-details-bin") ?? [];
  if (!(details instanceof Buffer)) {
    return undefined;
  }
  const info = google.rpc.Status.decode(details).details.find((each) => each.typeUrl === ERROR_INFO);
  return info && google.rpc.ErrorInfo.decode(info.value).reason;
}
