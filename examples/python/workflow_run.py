"""Reports a run of a workflow from its start to its end, and reads it back."""

import time

import orca
from orca.v1.workflow_pb2 import Run, Workflow, WorkflowEvent

now = int(time.time())
with orca.connect_sync() as client:
    flow = client.workflows.update(Workflow(provider="cron", name="nightly"), allow_missing=True)
    for kind, at in (("started", now - 40), ("succeeded", now)):
        event = WorkflowEvent(workflow_id=flow.id, run_id=str(now), kind=kind)
        event.occurred_at.FromSeconds(at)
        client.events.record([event])
    client.trust.refresh()  # events become runs within seconds; this waits for it
    run = client.runs.get(flow.id, str(now))
    print(Run.State.Name(run.state), run.duration_ms)
