"""Requests that should be accepted, made of real ids, names, etags and tokens: one per RPC."""

import json
import random
import time
from collections.abc import Callable
from uuid import UUID

from google.protobuf.message import Message

from orca.v1 import (
    agent_pb2,
    report_service_pb2,
    system_service_pb2,
    telemetry_pb2,
    trust_service_pb2,
)
from orca.v1 import agent_service_pb2 as pb
from orca.v1.search_pb2 import SearchAgentsRequest
from tests.fuzz import filters, plausible_events, plausible_findings, plausible_workflows
from tests.fuzz.pool import FRESH, Pool
from tests.fuzz.spans import DAY, span

State = agent_pb2.Agent.State
NAMES = 200
MUTABLE = (
    "display_name",
    "description",
    "owner",
    "version",
    "endpoint",
    "capabilities",
    "tools",
    "labels",
    "criticality",
    "heartbeat_interval_seconds",
    "latency_limit_ms",
)
ORDERS = ("", "id", "name", "created_at", "updated_at", "trust_level")
WORDS = ("files", "Search", "très bien", "two\nlines", "🦑", "", "x" * 150)

Dice = random.Random
Maker = Callable[[Pool, Dice], Message]


def _uuid4(dice: Dice) -> str:
    return str(UUID(int=dice.getrandbits(128), version=4))


def _content(dice: Dice) -> agent_pb2.Agent:
    """An agent without identity."""
    agent = agent_pb2.Agent(
        display_name=dice.choice(WORDS).replace("\n", " "),
        description=dice.choice(WORDS),
        owner=dice.choice(("platform", "data", "")),
        version=f"{dice.randrange(9)}.{dice.randrange(99)}",
        capabilities=dice.sample(("files", "search", "sql"), dice.randrange(4)),
        criticality=dice.randrange(4),
    )
    if dice.random() < 0.5:
        agent.labels.update({"team": dice.choice(("blue", "red")), "a-b": "1", "x.y": ""})
    if dice.random() < 0.3:
        agent.heartbeat_interval_seconds = dice.choice((10, 600, 2_592_000))
    if dice.random() < 0.3:
        agent.latency_limit_ms = dice.choice((1.0, 250.5, 3_600_000.0))
    if dice.random() < 0.3:
        agent.endpoint.url = "https://example.org/mcp"
    elif dice.random() < 0.5:
        agent.endpoint.command = "npx"
        agent.endpoint.args.extend(["-y", "server"])
        agent.endpoint.env["API_TOKEN"] = "${API_TOKEN}"
    if dice.random() < 0.3:
        tool = agent.tools.add(name="search", description="Finds.")
        tool.input_schema.update({"type": "object", "required": ["q"], "minimum": 0.5})
    return agent


def _create_agent(pool: Pool, dice: Dice) -> Message:
    agent = _content(dice)
    agent.type = dice.choice(("mcp", "bot", "a-1"))
    lasting = dice.random() < 0.25
    agent.name = f"agent-{dice.randrange(NAMES)}" if lasting else f"{FRESH}{dice.getrandbits(40)}"
    request_id = _uuid4(dice) if dice.random() < 0.5 else ""
    return pb.CreateAgentRequest(agent=agent, request_id=request_id, reason=dice.choice(WORDS))


def _get_agent(pool: Pool, dice: Dice) -> Message:
    return pb.GetAgentRequest(id=pool.agent(dice).id)


def _list_agents(pool: Pool, dice: Dice) -> Message:
    following = pool.page("ListAgents", dice)
    if following is not None and dice.random() < 0.4:
        return following
    return pb.ListAgentsRequest(
        page_size=dice.choice((1, 2, 7, 20, 60)),
        filter=filters.good(dice) if dice.random() < 0.6 else "",
        order_by=dice.choice(ORDERS) + dice.choice(("", "", " desc"))
        if dice.random() < 0.7
        else "",
        show_catalog=dice.random() < 0.5,
    )


def _search_agents(pool: Pool, dice: Dice) -> Message:
    return SearchAgentsRequest(
        query=dice.choice(("read files", "Serach", "agent-1", "très bien", "🦑", "two\nlines")),
        filter=filters.good(dice) if dice.random() < 0.4 else "",
        page_size=dice.choice((0, 1, 7, 1_000)),
        show_catalog=dice.random() < 0.5,
    )


def _update_agent(pool: Pool, dice: Dice) -> Message:
    agent = _content(dice)
    known = pool.agent(dice, State.STATE_ACTIVE, State.STATE_SUSPENDED)
    request = pb.UpdateAgentRequest(agent=agent, reason=dice.choice(WORDS))
    if dice.random() < 0.6:
        request.agent.id = known.id
        request.agent.etag = known.etag if dice.random() < 0.5 else ""
    else:
        request.allow_missing = True
        request.agent.type, request.agent.name = "bot", f"upserted-{dice.randrange(NAMES)}"
    if dice.random() < 0.6:
        request.update_mask.paths.extend(dice.sample(MUTABLE, dice.randint(1, 3)))
    return request


def _delete_agent(pool: Pool, dice: Dice) -> Message:
    fresh = pool.fresh.pop(dice.randrange(len(pool.fresh))) if pool.fresh else ""
    return pb.DeleteAgentRequest(id=fresh or pool.agent(dice).id, reason=dice.choice(WORDS))


def _batch_get_agents(pool: Pool, dice: Dice) -> Message:
    found = [pool.agent(dice, State.STATE_ACTIVE).id for _ in range(dice.randint(1, 4))]
    return pb.BatchGetAgentsRequest(ids=found)


def _transition(kind: Callable[..., Message], *states: int) -> Maker:
    def make(pool: Pool, dice: Dice) -> Message:
        agent = pool.agent(dice, *states)
        etag = agent.etag if dice.random() < 0.4 else ""
        return kind(id=agent.id, etag=etag, reason=dice.choice(WORDS))

    return make


def _record(pool: Pool, dice: Dice) -> telemetry_pb2.TelemetryRecord:
    record = telemetry_pb2.TelemetryRecord()
    agent = pool.reporter(dice)
    if dice.random() < 0.3 and agent.name:
        record.agent.type, record.agent.name = agent.type, agent.name
    else:
        record.agent_id = agent.id
    record.observed_at.FromMicroseconds(int((time.time() - dice.random() * 80 * DAY) * 1e6))
    record.id = dice.choice(("", str(dice.getrandbits(60)), "again"))
    record.operations = dice.choice((0, 1, 20, 10**9))
    if record.operations:
        record.errors = dice.randint(0, record.operations)
        record.violations = dice.choice((0, 1, 1, 10**9))
        if record.violations and dice.random() < 0.9:  # mostly one that is open nowhere yet
            fresh = str(dice.getrandbits(40))
            record.rule = dice.choice(("pii", "très bien", fresh, fresh, fresh, fresh, fresh))
        record.latency_ms = dice.choice((0.0, 0.0004, 12.5, 86_400_000.0))
        record.cost_usd = dice.choice((0.0, 1e-10, 0.1, 1_000_000.0))
        record.input_tokens = dice.choice((0, 10**9))
    if dice.random() < 0.3:
        record.attributes.update({"run": "7", "nested": {"list": [1, None, True, {"a": 0.1}]}})
    return record


def _record_telemetry(pool: Pool, dice: Dice) -> Message:
    records = [_record(pool, dice) for _ in range(dice.randint(1, 3))]
    return pb.RecordTelemetryRequest(records=records)


def _stream_telemetry(pool: Pool, dice: Dice) -> Message:
    records = [_record(pool, dice) for _ in range(dice.randint(1, 5))]
    return pb.StreamTelemetryRequest(records=records, batch_id=str(dice.getrandbits(20)))


def _list_telemetry(pool: Pool, dice: Dice) -> Message:
    following = pool.page("ListTelemetry", dice)
    if following is not None and dice.random() < 0.4:
        return following
    start, end = span(dice)
    return pb.ListTelemetryRequest(
        agent_id=pool.agent(dice).id,
        page_size=dice.choice((1, 2, 20, 10**9)),
        start_time=start,
        end_time=end,
        order_by=dice.choice(("", "observed_at", "observed_at desc")),
    )


def _sync_registry(pool: Pool, dice: Dice) -> Message:
    return pb.SyncRegistryRequest(validate_only=dice.random() < 0.5, reason=dice.choice(WORDS))


def _import_agents(pool: Pool, dice: Dice) -> Message:
    entries = [
        {
            "name": f"io.github.fuzz/server-{dice.randrange(NAMES)}",
            "description": dice.choice(WORDS),
            "version": f"1.{dice.randrange(9)}.0",
            "remotes": [{"type": "sse", "url": "https://example.org/sse"}],
        }
        for _ in range(dice.randint(1, 3))
    ]
    document: object = dice.choice((entries, {"servers": entries}, entries[0]))
    request = pb.ImportAgentsRequest(validate_only=dice.random() < 0.2)
    request.content.content_type = "application/json"
    request.content.data = json.dumps(document).encode()
    if dice.random() < 0.3:
        request.content.content_type = "application/yaml"
        request.content.data = _docker(dice).encode()
    return request


def _docker(dice: Dice) -> str:
    name = f"docker-{dice.randrange(NAMES)}"
    return f"name: {name}\nimage: mcp/{name}\ntype: server\nabout:\n  title: T\n  description: D\n"


def _get_trust_history(pool: Pool, dice: Dice) -> Message:
    following = pool.page("GetTrustHistory", dice)
    if following is not None and dice.random() < 0.4:
        return following
    start, end = span(dice)
    return trust_service_pb2.GetTrustHistoryRequest(
        page_size=dice.choice((0, 1, 2, 20)),
        start_time=start,
        end_time=end,
        agent_id=pool.agent(dice).id if dice.random() < 0.6 else "",
    )


def _get_agent_trust(pool: Pool, dice: Dice) -> Message:
    return trust_service_pb2.GetAgentTrustRequest(agent_id=pool.agent(dice).id)


def _get_trust(pool: Pool, dice: Dice) -> Message:
    return trust_service_pb2.GetTrustRequest(show_interval=dice.random() < 0.02)


MAKERS: dict[str, Maker] = {
    "CreateAgent": _create_agent,
    "GetAgent": _get_agent,
    "ListAgents": _list_agents,
    "SearchAgents": _search_agents,
    "UpdateAgent": _update_agent,
    "DeleteAgent": _delete_agent,
    "BatchGetAgents": _batch_get_agents,
    "SuspendAgent": _transition(pb.SuspendAgentRequest, State.STATE_ACTIVE, State.STATE_SUSPENDED),
    "ResumeAgent": _transition(pb.ResumeAgentRequest, State.STATE_SUSPENDED, State.STATE_RETIRED),
    "RetireAgent": _transition(pb.RetireAgentRequest, State.STATE_ACTIVE),
    "EnrolAgent": _transition(pb.EnrolAgentRequest, State.STATE_CATALOG, State.STATE_ACTIVE),
    "RecordTelemetry": _record_telemetry,
    "StreamTelemetry": _stream_telemetry,
    "ListTelemetry": _list_telemetry,
    "SyncRegistry": _sync_registry,
    "ImportAgents": _import_agents,
    **plausible_findings.MAKERS,
    **plausible_workflows.MAKERS,
    "RecordEvents": plausible_events.record_events,
    "StreamEvents": plausible_events.stream_events,
    "ListEvents": plausible_events.list_events,
    "GetTrust": _get_trust,
    "RefreshTrust": lambda pool, dice: trust_service_pb2.RefreshTrustRequest(),
    "GetAgentTrust": _get_agent_trust,
    "GetTrustHistory": _get_trust_history,
    "GetExecutiveSummary": lambda pool, dice: report_service_pb2.GetExecutiveSummaryRequest(),
    "ExportReport": lambda pool, dice: report_service_pb2.ExportReportRequest(
        format=dice.choice(("markdown", "json", "csv", "html"))
    ),
    "GetHealing": lambda pool, dice: report_service_pb2.GetHealingRequest(
        page_size=dice.choice((0, 1, 7, 5_000))
    ),
    "GetHealth": lambda pool, dice: system_service_pb2.GetHealthRequest(),
    "GetStatus": lambda pool, dice: system_service_pb2.GetStatusRequest(),
    "GetOpenApi": lambda pool, dice: system_service_pb2.GetOpenApiRequest(),
    "GetDocs": lambda pool, dice: system_service_pb2.GetDocsRequest(),
}
