"""Every error of every method, provoked over gRPC and REST: status, reason, HTTP code, body."""

import asyncio
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from orca.v1 import agent_service_pb2, workflow_service_pb2
from orca.v1.agent_service_pb2_grpc import AgentServiceStub
from orca.v1.system_service_pb2 import GetStatusRequest
from orca.v1.system_service_pb2_grpc import SystemServiceStub
from orca.v1.workflow_service_pb2_grpc import WorkflowServiceStub
from orca_server.runtime import search_index, tick
from orca_server.services import error_catalog as catalog
from orca_server.services import interceptors
from tests import replies
from tests.contract import stages
from tests.contract.error_paths import ROWS, UNREACHABLE, Row, promised
from tests.contract.stages import REGISTRY, Fleet, Stage
from tests.fuzz import rest
from tests.fuzz.http import Answer, Connection
from tests.fuzz.requests import label, methods
from tests.servers import VOLATILE, PostgresServer, running_postgres

METHODS = {label(method): method for method in methods()}
TICK_LOCK = "SELECT pg_advisory_xact_lock(7016996765293437281)"
# The lock of ticks first, as the tick does: else the two would wait for each other.
STORED = f"{TICK_LOCK}; LOCK TABLE telemetry, workflow_events"
LOCKED = (
    f"{STORED}, agents, workflows, trust_current, agent_trust, trust_snapshots, policy_violations,"
    " drift_detections"
)
QUEUE = 1_000
REASONS = {reason.key: reason for reason in catalog.REASONS}


@pytest.fixture(scope="module")
def url(postgres: PostgresServer, template: str) -> Iterator[str]:
    """One database for all stages but the one that has none."""
    with postgres.database(template) as found:
        asyncio.run(stages.prepare(found))
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a folder for a registry file."""
    return lambda: tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="module")
def open_(url: str, folder: Callable[[], Path]) -> Iterator[Stage]:
    """All is well, and callers without a token are operators."""
    with stages.stage(url, folder()) as found:
        stages.wait_until_revoked(found.target)
        yield found


@pytest.fixture(scope="module")
def fleet(open_: Stage) -> Fleet:
    """What requests are about."""
    return stages.found(open_.target)


@pytest.fixture(scope="module")
def closed(url: str, folder: Callable[[], Path]) -> Iterator[Stage]:
    """Nobody comes in without a token."""
    with stages.stage(url, folder(), anonymous_role="none") as found:
        yield found


@pytest.fixture(scope="module")
def down(folder: Callable[[], Path]) -> Iterator[Stage]:
    """The database was there and is stopped."""
    with running_postgres(VOLATILE) as postgres, stages.stage(postgres.url(), folder()) as found:
        postgres.stop()
        with grpc.insecure_channel(found.target) as channel:
            while stages.is_ready(SystemServiceStub(channel)):  # by what it saw a moment ago
                threading.Event().wait(0.02)
        yield found


@pytest.fixture(scope="module")
def full(url: str, folder: Callable[[], Path]) -> Iterator[Stage]:
    """Has room for a thousand records."""
    with stages.stage(url, folder(), ingest_queue_records=QUEUE) as found:
        yield found


@pytest.fixture
def draining(url: str, folder: Callable[[], Path]) -> Iterator[Stage]:
    """Will stop when the test says so."""
    with stages.stage(url, folder()) as found:
        yield found


@pytest.fixture
def loading(url: str, folder: Callable[[], Path]) -> Iterator[Stage]:
    """Has started, and cannot read what search needs."""
    with (
        waiting_at_most(search_index, "LOADING_SECONDS"),
        stages.holding(url, "LOCK TABLE agent_embeddings"),
        stages.stage(url, folder()) as found,
    ):
        yield found


STAGES = {"open": "open_", "slow": "open_", "busy": "open_"}
VARYING = ("INTERNAL", "NOT_READY", "DATABASE_UNAVAILABLE")
"""Reasons whose text depends on when they are given."""


@contextmanager
def arranged(row: Row, stage: Stage, fleet: Fleet, url: str) -> Iterator[None]:
    """The condition of a row, as long as it lasts."""
    if row.registry is None:
        stage.registry.unlink()
    elif row.registry:
        stage.registry.write_text(row.registry)
    try:
        match row.stage:
            case "slow":
                limit = waiting_at_most(interceptors, "LONGEST_UNARY_SECONDS")
                with limit, stages.holding(url, LOCKED):
                    yield
            case "busy":
                with waiting_at_most(tick, "REFRESH_SECONDS"), stages.holding(url, TICK_LOCK):
                    yield
            case "full":
                with stages.holding(url, STORED), filled(stage, fleet):
                    yield
            case _:
                yield
    finally:
        stage.registry.write_text(REGISTRY)


@contextmanager
def waiting_at_most(module: Any, limit: str) -> Iterator[None]:
    """A limit of the server's is a tenth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, limit, 0.1)
        yield


@contextmanager
def filled(stage: Stage, fleet: Fleet) -> Iterator[None]:
    """The queues are full of what the database does not take."""
    with grpc.insecure_channel(stage.target) as channel:
        records = stages.records(fleet.ids["reported"], QUEUE)
        telemetry = agent_service_pb2.RecordTelemetryRequest(records=records)
        events = workflow_service_pb2.RecordEventsRequest(
            events=stages.events(fleet.workflows["reported"], QUEUE)
        )
        system, waiting = SystemServiceStub(channel), []
        for method, request in (
            (AgentServiceStub(channel).RecordTelemetry, telemetry),
            (WorkflowServiceStub(channel).RecordEvents, events),
        ):
            before = system.GetStatus(GetStatusRequest()).ingest.queued_bytes
            waiting.append(method.future(request))
            while system.GetStatus(GetStatusRequest()).ingest.queued_bytes <= before:
                assert not waiting[-1].done()
        yield
        for each in waiting:
            each.cancel()


def over_grpc(row: Row, stage: Stage, request: Message) -> status_pb2.Status:
    """What the server answers to gRPC."""
    data = request.SerializeToString() if row.raw is None else row.raw
    with grpc.insecure_channel(stage.target) as channel, pytest.raises(grpc.RpcError) as caught:
        call(row, stage, channel, data)
    status = rpc_status.from_call(caught.value)
    assert status is not None, caught.value
    assert caught.value.code().value[0] == status.code
    return status


def call(row: Row, stage: Stage, channel: grpc.Channel, data: bytes) -> None:
    """Sends the request of a row; where the server is to stop, it does after the first receipt."""
    method = METHODS[row.method]
    path = f"/{method.containing_service.full_name}/{method.name}"
    if not method.client_streaming:
        channel.unary_unary(path)(data, metadata=row.metadata())
        return
    receipts = channel.stream_stream(path)(_batches(row, data), metadata=row.metadata())
    for _ in receipts:
        if row.stage == "draining":
            stage.stop()


def _batches(row: Row, data: bytes) -> Iterator[bytes]:
    """A batch, and no end of the stream when the server's is waited for."""
    yield data
    if row.stage == "draining":
        threading.Event().wait(20)


def over_rest(row: Row, stage: Stage, request: Message) -> Answer:
    """What the gateway answers to REST."""
    sent = rest.to_http(METHODS[row.method], request, random.Random(row.method + row.key))
    if row.raw is not None:
        mark = "&" if "?" in sent.target else "?"
        sent = replace(sent, target=f"{sent.target}{mark}surprise=1")
    sent = replace(sent, headers=(*sent.headers, *row.metadata()))
    answer = asyncio.run(_ask(stage.rest_port, sent.data))
    assert replies.faults(sent.verb, sent.target, answer) == []
    return answer


async def _ask(port: int, data: bytes) -> Answer:
    connection = Connection(port)
    try:
        return await connection.ask(data)
    finally:
        await connection.close()


def check_details(key: str, details: list[dict[str, Any]]) -> None:
    """The details that the catalogue promises, no others."""
    kinds = [each["@type"].rpartition(".")[2] for each in details]
    info = details[0]
    assert (kinds[0], info["reason"], info["domain"]) == ("ErrorInfo", key.split()[1], "orca")
    about = REASONS[key]
    assert ("BadRequest" in kinds) == about.violations
    assert ("RetryInfo" in kinds) == (about.retry_seconds is not None)
    told, forms = set(info.get("metadata", {})), (about.metadata, about.workflow)
    assert any(form is not None and set(form) <= told for form in forms), "as in the example"
    for each in details:
        for violation in each.get("field_violations", ()):
            assert violation["reason"] in catalog.FIELD_REASONS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method}-{row.key.replace(' ', '-')}")
def test_each_error_is_what_the_catalogue_says(
    row: Row, fleet: Fleet, url: str, request: pytest.FixtureRequest
) -> None:
    stage: Stage = request.getfixturevalue(STAGES.get(row.stage, row.stage))
    message = row.request(fleet)
    status_name = row.key.split()[0]
    with arranged(row, stage, fleet, url):
        status = over_grpc(row, stage, message)
        answer = None if METHODS[row.method].client_streaming else over_rest(row, stage, message)
    expected = MessageToDict(status, preserving_proto_field_name=True)
    assert code_pb2.Code.Name(status.code) == status_name, expected
    check_details(row.key, expected["details"])
    if answer is None:
        return
    assert (answer.status, answer.headers["content-type"]) == (
        catalog.HTTP[status_name],
        "application/json",
    ), answer
    body = json.loads(answer.body)
    assert body.keys() == {"code", "message", "details"}
    same = Parse(answer.body, status_pb2.Status())
    if row.raw is not None:  # the gateway's own answer
        assert (body["code"], body["details"][0]["reason"]) == (3, "REQUEST_MALFORMED")
    elif row.key.split()[1] in VARYING:
        check_details(row.key, body["details"])
        assert same.code == status.code
    else:
        assert MessageToDict(same) == MessageToDict(status)  # a map has no order


def test_every_error_of_every_method_has_its_row() -> None:
    have = {(row.method, row.key) for row in ROWS}
    assert len(have) == len(ROWS), "a row stands twice"
    missing = {(method, key) for method, key in promised() - have if key not in UNREACHABLE}
    assert missing == set()
    assert have - promised() == set()


def test_what_is_said_to_be_unreachable_is_reached_where_it_can_be() -> None:
    reached = {row.key for row in ROWS}
    assert set(UNREACHABLE) <= reached
