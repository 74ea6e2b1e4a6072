/**
 * Lists the fleet, reports what an agent did, and reads trust with its components.
 *
 *     ORCA_ADDRESS=localhost:50051 node dist/examples/fleet.js
 */

import { call, connect, orca, reasonOf } from "../src/index.js";

type Agents = orca.v1.AgentServiceClient;

async function list(agents: Agents): Promise<void> {
  // Whoever reports is part of the fleet; enrolling by name again changes nothing.
  await call(agents, "updateAgent", {
    agent: orca.v1.Agent.fromPartial({ type: "bot", name: "invoice-bot", owner: "finance" }),
    updateMask: undefined,
    allowMissing: true,
    reason: "",
  });
  let pageToken = "";
  do {
    const page = await call(agents, "listAgents", orca.v1.ListAgentsRequest.fromPartial({ pageToken }));
    for (const agent of page.agents) {
      console.log(`agent ${agent.type}/${agent.name}`);
    }
    pageToken = page.nextPageToken;
  } while (pageToken !== "");
}

async function report(agents: Agents): Promise<void> {
  // A retry repeats the record as it was: it finds itself and is counted once. While the server is
  // away the channel repeats the call by itself; after a crash of yours, send the record again.
  const record = orca.v1.TelemetryRecord.fromPartial({
    agent: { type: "bot", name: "invoice-bot" },
    id: "run-1",
    observedAt: new Date(),
    operations: 200,
    errors: 9,
  });
  for (const attempt of ["first", "again"]) {
    const receipt = await call(agents, "recordTelemetry", { records: [record] });
    console.log(`${attempt}: accepted ${receipt.accepted}, duplicates ${receipt.duplicates}`);
  }
}

async function explain(trust: orca.v1.TrustServiceClient): Promise<void> {
  const fleet = await call(trust, "refreshTrust", {});
  console.log(`trust ${fleet.trustPpb}`);
  for (const [name, part] of Object.entries(fleet.components ?? {})) {
    console.log(`component ${name}: ${part?.contributionPpb ?? "not measured"}`);
  }
}

const { agents, trust, close } = connect();
try {
  await list(agents);
  await report(agents);
  await explain(trust);
} catch (error) {
  console.error(`${error} ${reasonOf(error) ?? ""}`);
  process.exitCode = 1;
} finally {
  close();
}
