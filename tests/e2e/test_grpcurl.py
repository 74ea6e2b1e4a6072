"""The real grpcurl against a real server, through both ports of a real gateway."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.servers import PostgresServer, running_gateway
from tests.serving import server_process, token_for

GRPCURL = str(Path(sys.executable).with_name("grpcurl"))
OURS = ("orca.v1.AgentService", "orca.v1.SystemService", "orca.v1.TrustService")


@dataclass(frozen=True, slots=True)
class Grpcurl:
    """The program and the address that it asks."""

    address: str

    def run(
        self, *arguments: str, stdin: str = "", token: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """One run; the last arguments are what stands after the address."""
        options = [part for part in arguments if part.startswith("-")]
        rest = [part for part in arguments if not part.startswith("-")]
        header = ["-H", f"authorization: Bearer {token}"] if token else []
        body = ["-d", "@"] if stdin else []
        return subprocess.run(
            [GRPCURL, "-plaintext", *options, *header, *body, self.address, *rest],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def text(self, *arguments: str, **more: str) -> str:
        """What it prints, when it must succeed."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, method: str, stdin: str = "", token: str = "") -> Any:
        """The reply of a method."""
        return json.loads(self.text(method, stdin=stdin, token=token))


@pytest.fixture(scope="module")
def addresses(postgres: PostgresServer, template: str) -> Iterator[dict[str, str]]:
    """Both ports of a gateway in front of a server that takes calls without a token."""
    with postgres.database(template) as url, server_process(url) as server:
        port = int(server.start().grpc.rpartition(":")[2])
        with running_gateway(port) as gateway:
            rest = f"127.0.0.1:{gateway.settings.rest_port}"
            yield {"rest": rest, "grpc": gateway.grpc_target}


@pytest.fixture(params=["rest", "grpc"])
def grpcurl(request: pytest.FixtureRequest, addresses: dict[str, str]) -> Grpcurl:
    return Grpcurl(addresses[request.param])


def test_reflection_lists_and_describes(grpcurl: Grpcurl) -> None:
    listed = grpcurl.text("list").split()
    assert {*OURS, "grpc.health.v1.Health"} <= set(listed)
    methods = grpcurl.text("list", "orca.v1.TrustService").split()
    assert "orca.v1.TrustService.GetTrust" in methods
    described = grpcurl.text("describe", "orca.v1.TrustService")
    assert "rpc GetTrust ( .orca.v1.GetTrustRequest )" in described
    assert "records" in grpcurl.text("describe", "orca.v1.StreamTelemetryRequest")


def test_trust_is_read(grpcurl: Grpcurl) -> None:
    trust = grpcurl.call("orca.v1.TrustService/GetTrust")
    assert {"agent_uptime", "policy_adherence"} <= set(trust["components"])


@pytest.mark.parametrize("service", ["", *OURS])
def test_standard_health_is_answered_for_each_service(grpcurl: Grpcurl, service: str) -> None:
    asked = json.dumps({"service": service})
    reply: object = None
    while reply != {"status": "SERVING"}:  # it is looked at each second; the limit ends it
        reply = grpcurl.call("grpc.health.v1.Health/Check", stdin=asked)


def test_telemetry_streams_from_standard_input(grpcurl: Grpcurl) -> None:
    name = f"streamed-{grpcurl.address.rpartition(':')[2]}"
    made = json.dumps({"agent": {"type": "bot", "name": name}})
    agent = grpcurl.call("orca.v1.AgentService/CreateAgent", stdin=made)
    record = {
        "agent_id": agent["id"],
        "observed_at": datetime.now(UTC).isoformat(),
        "operations": 10,
    }
    batches = [
        {"batch_id": "one", "records": [record | {"id": "a"}, record | {"id": "b"}]},
        {
            "batch_id": "two",
            "records": [record | {"id": "a"}, record | {"id": "c", "errors": 99}],
        },
    ]
    typed = "\n".join(map(json.dumps, batches))
    printed = grpcurl.text("orca.v1.AgentService/StreamTelemetry", stdin=typed)
    first, second = _documents(printed)
    assert (first["batch_id"], second["batch_id"]) == ("one", "two")
    # The batches may be stored side by side, so either may be the one that finds the record there.
    assert first.get("accepted", 0) + second.get("accepted", 0) == 2
    assert first.get("duplicates", 0) + second.get("duplicates", 0) == 1
    [refused] = second["refused"]
    assert refused["index"] == 1
    assert refused["field"] == "errors"
    listed = json.dumps({"agent_id": agent["id"]})
    stored = grpcurl.call("orca.v1.AgentService/ListTelemetry", stdin=listed)
    assert [each["record"]["operations"] for each in stored["telemetry"]] == [10, 10]


def test_an_error_is_shown_with_its_details(grpcurl: Grpcurl) -> None:
    asked = json.dumps({"agent": {"type": "bot", "name": ""}})
    done = grpcurl.run("orca.v1.AgentService/CreateAgent", stdin=asked)
    assert done.returncode != 0
    for words in ("Code: InvalidArgument", "google.rpc.ErrorInfo", "FIELD_INVALID", "agent.name"):
        assert words in done.stderr


def test_a_token_travels_in_a_header(grpcurl: Grpcurl) -> None:
    made = json.dumps({"agent": {"type": "bot", "name": "refused"}})
    method = "orca.v1.AgentService/CreateAgent"
    viewer = grpcurl.run(method, stdin=made, token=token_for("viewer"))
    assert "PermissionDenied" in viewer.stderr
    forged = grpcurl.run(method, stdin=made, token=token_for("admin", secret="x" * 32))
    assert "TOKEN_INVALID" in forged.stderr
    assert grpcurl.call("orca.v1.TrustService/GetTrust", token=token_for("viewer"))["components"]


def _documents(text: str) -> list[Any]:
    """JSON documents that follow each other."""
    found: list[Any] = []
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found
