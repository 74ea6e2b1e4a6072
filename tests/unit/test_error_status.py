"""Errors as they leave the server: complete while small, joined when not, never too large."""

import base64

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from orca_server.domain.errors import (
    FieldViolation,
    InvalidRequest,
    NotFound,
    Overloaded,
    invalid_fields,
)
from orca_server.services.errors import LARGEST_STATUS, internal_error, to_status


def detail(status: status_pb2.Status, kind: type) -> object:
    (found,) = [each for each in status.details if each.Is(kind.DESCRIPTOR)]
    made = kind()
    found.Unpack(made)
    return made


def violations(status: status_pb2.Status) -> list[tuple[str, str]]:
    bad = detail(status, error_details_pb2.BadRequest)
    assert isinstance(bad, error_details_pb2.BadRequest)
    return [(each.field, each.reason) for each in bad.field_violations]


def info(status: status_pb2.Status) -> error_details_pb2.ErrorInfo:
    found = detail(status, error_details_pb2.ErrorInfo)
    assert isinstance(found, error_details_pb2.ErrorInfo)
    return found


def test_few_violations_are_listed_one_by_one() -> None:
    wrong = [FieldViolation(f"records[{n}].errors", "OUT_OF_RANGE", "is -1") for n in range(5)]
    status = to_status(invalid_fields(wrong))
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert violations(status) == [(each.field, each.reason) for each in wrong]
    assert dict(info(status).metadata) == {}


def test_a_thousand_equal_faults_are_joined_and_each_index_is_named() -> None:
    wrong = [
        FieldViolation(f"records[{n}].observed_at", "OUT_OF_RANGE", f"is too old by {n} s")
        for n in range(1000)
        if n != 500
    ]
    status = to_status(InvalidRequest("TELEMETRY_INVALID", "is wrong", violations=wrong))
    assert violations(status) == [("records[0-499,501-999].observed_at", "OUT_OF_RANGE")]
    assert dict(info(status).metadata) == {"violations": "999", "violations_shown": "1"}


def test_faults_too_many_even_so_are_cut_and_counted() -> None:
    wrong = [FieldViolation(f"field_{n}", "REQUIRED", "x" * 300) for n in range(1000)]
    status = to_status(invalid_fields(wrong))
    assert len(base64.b64encode(status.SerializeToString())) <= LARGEST_STATUS
    shown = len(violations(status))
    assert 5 < shown < 1000
    assert info(status).metadata["violations_shown"] == str(shown)
    assert violations(status)[0] == ("field_0", "REQUIRED")


def test_a_very_long_message_is_cut() -> None:
    status = to_status(NotFound("AGENT_NOT_FOUND", "ю" * 100_000, {"agent_id": "x"}))
    details = base64.b64encode(status.SerializeToString())
    assert len(details) + 3 * len(status.message.encode()) <= LARGEST_STATUS


def test_what_was_not_found_is_named() -> None:
    status = to_status(NotFound("AGENT_NOT_FOUND", "No agent.", {"agent_id": "17"}))
    resource = detail(status, error_details_pb2.ResourceInfo)
    assert isinstance(resource, error_details_pb2.ResourceInfo)
    assert (resource.resource_type, resource.resource_name) == ("agent", "17")


def test_overload_says_when_to_try_again() -> None:
    status = to_status(Overloaded("INGEST_QUEUE_FULL", "full", retry_after_seconds=1.5))
    retry = detail(status, error_details_pb2.RetryInfo)
    assert isinstance(retry, error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToTimedelta().total_seconds() == pytest.approx(1.5)


def test_the_unforeseen_tells_nothing_but_the_request_id() -> None:
    status = internal_error("abc")
    assert (info(status).reason, dict(info(status).metadata)) == ("INTERNAL", {"request_id": "abc"})
