"""Every status becomes a typed exception with what the server said."""

import grpc
import pytest

import orca
from orca.errors import ERRORS
from tests.unit.client_server import Refusal, Script, scripted_server


def test_every_status_but_ok_has_an_exception() -> None:
    assert set(ERRORS) == set(grpc.StatusCode) - {grpc.StatusCode.OK}


@pytest.mark.parametrize("code", ERRORS, ids=lambda code: code.name)
async def test_a_status_raises_its_exception(code: grpc.StatusCode) -> None:
    script = Script(answers={"GetAgent": [Refusal(code, "SOME_REASON", "said so")]})
    async with scripted_server(script) as address, orca.connect(address, max_attempts=1) as client:
        with pytest.raises(ERRORS[code]) as caught:
            await client.agents.get("x")
    assert (caught.value.code, caught.value.reason) == (code, "SOME_REASON")
    assert caught.value.message == "said so"
    assert caught.value.metadata == {"about": "x"}


async def test_violations_and_retry_information_are_kept() -> None:
    refusal = Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        "TELEMETRY_INVALID",
        retry_after_seconds=0.25,
        violations=(("records[3].observed_at", "OUT_OF_RANGE", "too old"),),
    )
    script = Script(answers={"RecordTelemetry": [refusal]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        with pytest.raises(orca.InvalidRequest) as caught:
            await client.telemetry.record([])
    error = caught.value
    assert error.violations == (
        orca.FieldViolation("records[3].observed_at", "OUT_OF_RANGE", "too old"),
    )
    assert error.retry_after_seconds == pytest.approx(0.25)
    assert error.request_id == script.metadata[0]["x-request-id"]


async def test_a_status_without_details_has_no_reason() -> None:
    script = Script(answers={"GetAgent": [Refusal(grpc.StatusCode.NOT_FOUND)]})
    async with scripted_server(script) as address, orca.connect(address) as client:
        with pytest.raises(orca.NotFound) as caught:
            await client.agents.get("x")
    assert caught.value.reason == ""
    assert str(caught.value) == "no"


async def test_nobody_listening_is_unavailable() -> None:
    async with scripted_server(Script()) as address:
        pass
    async with orca.connect(address, max_attempts=1) as client:
        with pytest.raises(orca.Unavailable):
            await client.system.status()
