"""The rows of the table of error paths that are about agents, their telemetry and their files."""

from collections.abc import Callable, Iterator

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from orca.v1 import agent_pb2
from orca.v1 import agent_service_pb2 as pb
from orca.v1.search_pb2 import SearchAgentsRequest
from tests.contract.error_rows import Make, Row, bound_token, spoilt
from tests.contract.stages import CREATE_ID, records
from tests.inventory import UNKNOWN, bearer

LONG = "x" * 501


def agent(**fields: object) -> agent_pb2.Agent:
    """An agent of type bot."""
    return agent_pb2.Agent(**{"type": "bot", **fields})  # type: ignore[arg-type]


def update(request_agent: agent_pb2.Agent, *paths: str, **more: bool) -> pb.UpdateAgentRequest:
    """An update of these paths."""
    return pb.UpdateAgentRequest(agent=request_agent, update_mask=FieldMask(paths=paths), **more)


def document(data: bytes, reason: str = "") -> pb.ImportAgentsRequest:
    """An import."""
    request = pb.ImportAgentsRequest(reason=reason)
    request.content.content_type = "application/json"
    request.content.data = data
    return request


GOOD: dict[str, Make] = {
    "CreateAgent": lambda f: pb.CreateAgentRequest(agent=agent(name="new")),
    "GetAgent": lambda f: pb.GetAgentRequest(id=f.ids["active"]),
    "ListAgents": lambda f: pb.ListAgentsRequest(page_size=2),
    "SearchAgents": lambda f: SearchAgentsRequest(query="active"),
    "UpdateAgent": lambda f: update(agent_pb2.Agent(id=f.ids["active"], owner="me"), "owner"),
    "DeleteAgent": lambda f: pb.DeleteAgentRequest(id=f.ids["fresh"]),
    "BatchGetAgents": lambda f: pb.BatchGetAgentsRequest(ids=[f.ids["active"]]),
    "SuspendAgent": lambda f: pb.SuspendAgentRequest(id=f.ids["suspended"]),
    "ResumeAgent": lambda f: pb.ResumeAgentRequest(id=f.ids["active"]),
    "RetireAgent": lambda f: pb.RetireAgentRequest(id=f.ids["retired"]),
    "EnrolAgent": lambda f: pb.EnrolAgentRequest(id=f.ids["active"]),
    "RecordTelemetry": lambda f: pb.RecordTelemetryRequest(records=records(f.ids["reported"], 1)),
    "StreamTelemetry": lambda f: pb.StreamTelemetryRequest(records=records(f.ids["reported"], 1)),
    "ListTelemetry": lambda f: pb.ListTelemetryRequest(agent_id=f.ids["reported"]),
    "SyncRegistry": lambda f: pb.SyncRegistryRequest(),
    "ImportAgents": lambda f: document(b'[{"name": "catalog", "version": "1"}]'),
}
"""A request to each method that nothing is wrong with."""

_FIELD = "INVALID_ARGUMENT FIELD_INVALID"
_FOUND = "NOT_FOUND AGENT_NOT_FOUND"
_ETAG = "ABORTED ETAG_MISMATCH"
_ORDER = "INVALID_ARGUMENT ORDER_BY_INVALID"
_INVALID = "INVALID_ARGUMENT PAGE_TOKEN_INVALID"
_MISMATCH = "INVALID_ARGUMENT PAGE_TOKEN_MISMATCH"
_CHANGED = "ABORTED INVENTORY_CHANGED"
_BOUND = "PERMISSION_DENIED AGENT_NOT_ALLOWED"
_VANISHING = "another replica takes the agent away while it is made"


def rows() -> Iterator[Row]:
    """All of them but those that every method has."""
    yield from _inventory()
    yield from _states()
    yield from _pages()
    yield from _search()
    yield from _telemetry()
    yield from _registry()


def _of_one_agent(name: str, kind: Callable[..., Message]) -> Iterator[Row]:
    """What all methods on one agent, by id, have in common."""
    yield Row(name, _FIELD, "id=x", lambda f: kind(id="x"))
    yield Row(name, _FOUND, "an id that no agent has", lambda f: kind(id=UNKNOWN))
    if name != "AgentService.GetAgent":
        yield Row(name, _ETAG, "etag=old", lambda f: kind(id=f.ids["fresh"], etag="old"))


def _inventory() -> Iterator[Row]:
    create, get, update_ = (f"AgentService.{name}Agent" for name in ("Create", "Get", "Update"))
    taken, retired = "ALREADY_EXISTS AGENT_EXISTS", "ALREADY_EXISTS AGENT_RETIRED"
    make = pb.CreateAgentRequest
    yield Row(create, _FIELD, "no name", lambda f: make(agent=agent()))
    yield Row(create, taken, "the same again", lambda f: make(agent=agent(name="active")))
    yield Row(create, retired, "a retired one's name", lambda f: make(agent=agent(name="retired")))
    yield Row(
        create,
        "ALREADY_EXISTS REQUEST_ID_REUSED",
        "another agent with a request_id that was used",
        lambda f: make(agent=agent(name="other"), request_id=CREATE_ID),
    )
    yield Row(create, _CHANGED, _VANISHING, lambda f: make(agent=agent(name="vanishing")))
    yield Row(
        create,
        "INTERNAL INTERNAL",
        "the database raises an error that nobody foresaw",
        lambda f: make(agent=agent(name="exploding")),
    )
    yield from _of_one_agent(get, pb.GetAgentRequest)
    yield from _of_one_agent("AgentService.DeleteAgent", pb.DeleteAgentRequest)
    yield Row(
        "AgentService.DeleteAgent",
        "FAILED_PRECONDITION AGENT_HAS_HISTORY",
        "an agent that reported",
        lambda f: pb.DeleteAgentRequest(id=f.ids["reported"]),
    )
    batch = "AgentService.BatchGetAgents"
    yield Row(batch, _FIELD, "no ids", lambda f: pb.BatchGetAgentsRequest())
    yield Row(batch, _FOUND, "unknown id", lambda f: pb.BatchGetAgentsRequest(ids=[UNKNOWN]))
    yield from _updates(update_, retired)


def _updates(name: str, retired: str) -> Iterator[Row]:
    one = agent_pb2.Agent
    yield Row(name, _FIELD, "id=x", lambda f: update(one(id="x"), "owner"))
    yield Row(name, _FOUND, "unknown id", lambda f: update(one(id=UNKNOWN), "owner"))
    yield Row(
        name, _ETAG, "etag=old", lambda f: update(one(id=f.ids["active"], etag="old"), "owner")
    )
    yield Row(name, retired, "a retired agent", lambda f: update(one(id=f.ids["retired"]), "owner"))
    yield Row(
        name,
        "INVALID_ARGUMENT FIELD_IMMUTABLE",
        "another name",
        lambda f: update(one(id=f.ids["active"], name="other"), "name"),
    )
    yield Row(
        name,
        "FAILED_PRECONDITION AGENT_OWNED_BY_FILE",
        "a field that the registry file states",
        lambda f: update(one(id=f.ids["from-file"], display_name="mine"), "display_name"),
    )
    yield Row(
        name,
        "FAILED_PRECONDITION AGENT_SUSPENDED",
        "criticality of a suspended agent",
        lambda f: update(one(id=f.ids["suspended"], criticality=1), "criticality"),
    )
    yield Row(
        name,
        "PERMISSION_DENIED FIELD_NOT_ALLOWED",
        "criticality, with an adapter's token",
        lambda f: update(one(id=f.ids["active"], criticality=1), "criticality"),
        lambda: bearer("adapter"),
    )
    yield Row(
        name,
        _BOUND,
        "a token bound to another agent",
        lambda f: update(one(id=f.ids["active"], description="me"), "description"),
        bound_token,
    )
    yield Row(
        name, _CHANGED, _VANISHING, lambda f: update(agent(name="vanishing"), allow_missing=True)
    )


def _states() -> Iterator[Row]:
    for name in ("Suspend", "Resume", "Retire", "Enrol"):
        method, kind = f"AgentService.{name}Agent", getattr(pb, f"{name}AgentRequest")
        yield from _of_one_agent(method, kind)

        def of(state: str, kind: Callable[..., Message] = kind) -> Make:
            return lambda f: kind(id=f.ids[state])

        if name == "Enrol":
            key = "FAILED_PRECONDITION AGENT_NOT_IN_CATALOG"
            yield Row(method, key, "a suspended agent", of("suspended"))
            continue
        key = "FAILED_PRECONDITION AGENT_IN_CATALOG"
        yield Row(method, key, "a catalogue entry", of("catalog"))
        if name == "Suspend":
            key = "FAILED_PRECONDITION AGENT_RETIRED"
            yield Row(method, key, "a retired agent", of("retired"))


def _pages() -> Iterator[Row]:
    for name in ("ListAgents", "ListTelemetry"):
        method = f"AgentService.{name}"
        yield Row(method, _FIELD, "page_size=-1", spoilt(name, page_size=-1))
        yield Row(method, _ORDER, "order_by=x", spoilt(name, order_by="x", page_token=""))
        yield Row(method, _INVALID, "page_token=x", spoilt(name, page_token="x"))
    other = spoilt("ListAgents", filter='type = "bot"')
    yield Row("AgentService.ListAgents", _MISMATCH, "a token of another filter", other)
    yield Row(
        "AgentService.ListAgents",
        "INVALID_ARGUMENT FILTER_INVALID",
        "filter=x",
        spoilt("ListAgents", filter="x", page_token=""),
    )
    other = spoilt("ListTelemetry", order_by="observed_at desc")
    yield Row("AgentService.ListTelemetry", _MISMATCH, "a token of another order", other)
    other = spoilt("ListTelemetry", agent_id=UNKNOWN, page_token="")
    yield Row("AgentService.ListTelemetry", _FOUND, "unknown id", other)


def _search() -> Iterator[Row]:
    method, make = "AgentService.SearchAgents", SearchAgentsRequest
    yield Row(method, _FIELD, "no query", lambda f: make(query=" "))
    yield Row(
        method,
        "INVALID_ARGUMENT FILTER_INVALID",
        "filter=x",
        lambda f: make(query="active", filter="x"),
    )
    yield Row(
        method,
        "UNAVAILABLE SEARCH_NOT_READY",
        "the server cannot read the agents yet",
        GOOD["SearchAgents"],
        stage="loading",
    )


def _telemetry() -> Iterator[Row]:
    method, make = "AgentService.RecordTelemetry", pb.RecordTelemetryRequest
    yield Row(method, _FIELD, "no records", lambda f: make())
    yield Row(
        method,
        "INVALID_ARGUMENT TELEMETRY_INVALID",
        "a record of an unknown agent",
        lambda f: make(records=records(UNKNOWN, 1)),
    )
    yield Row(
        method,
        _BOUND,
        "a token bound to another agent",
        GOOD["RecordTelemetry"],
        bound_token,
    )
    yield Row(
        method,
        "RESOURCE_EXHAUSTED INGEST_QUEUE_FULL",
        "the queue is full of records that the database does not take",
        GOOD["RecordTelemetry"],
        stage="full",
    )
    yield Row(
        "AgentService.StreamTelemetry",
        "UNAVAILABLE SERVER_DRAINING",
        "the server stops",
        GOOD["StreamTelemetry"],
        stage="draining",
    )


def _registry() -> Iterator[Row]:
    sync, make = "AgentService.SyncRegistry", pb.SyncRegistryRequest
    yield Row(sync, _FIELD, "a reason of 501 characters", lambda f: make(reason=LONG))
    for key, how, text in (
        ("FAILED_PRECONDITION REGISTRY_FILE_INVALID", "an unknown key in the file", "a: 1\n"),
        ("FAILED_PRECONDITION REGISTRY_FILE_MISSING", "no file", None),
        (_CHANGED, _VANISHING, 'version: "1.0.0"\nservers: {vanishing: {command: x}}\n'),
    ):
        yield Row(sync, key, how, GOOD["SyncRegistry"], registry=text)
    import_ = "AgentService.ImportAgents"
    many = b"[" + b",".join([b'{"name": "a"}'] * 1_001) + b"]"
    for key, how, request in (
        (_FIELD, "a reason of 501 characters", document(b"[]", LONG)),
        ("INVALID_ARGUMENT DOCUMENT_INVALID", "no JSON", document(b"{x")),
        ("INVALID_ARGUMENT DOCUMENT_TOO_LARGE", "1,001 entries", document(many)),
        (_CHANGED, _VANISHING, document(b'[{"name": "vanishing", "version": "1"}]')),
    ):
        yield Row(import_, key, how, lambda f, request=request: request)  # type: ignore[misc]
