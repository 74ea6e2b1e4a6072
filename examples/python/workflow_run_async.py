"""Reports a run that failed, and lists the workflow's runs, with async."""

import asyncio

import orca
from orca.v1.workflow_pb2 import Run, RunError, Workflow, WorkflowEvent


async def main() -> None:
    async with orca.connect() as client:
        flow = Workflow(provider="cron", name="hourly")
        flow = await client.workflows.update(flow, allow_missing=True)
        event = WorkflowEvent(workflow_id=flow.id, run_id="1", kind="failed")
        event.occurred_at.GetCurrentTime()
        event.error.CopyFrom(RunError(type="Timeout", message="no answer in 30 s"))
        await client.events.record([event])
        await client.trust.refresh()  # events become runs within seconds; this waits for it
        async for run in client.runs.list(flow.id):
            print(run.run_id, Run.State.Name(run.state), run.error.type)


asyncio.run(main())
