"""Update masks: which fields change, and to what."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.agents import (
    UPDATABLE,
    Content,
    Endpoint,
)
from orca_server.domain.errors import InvalidRequest, OrcaError
from orca_server.domain.update_masks import Change, apply, read_mask

READ_ONLY = {"state", "source", "trust_level"}


@pytest.mark.parametrize(
    ("paths", "changes", "identity"),
    [
        (["display_name"], [Change("display_name")], []),
        (
            ["displayName", "latencyLimitMs"],
            [Change("display_name"), Change("latency_limit_ms")],
            [],
        ),
        (["labels.team.a"], [Change("labels", "team.a")], []),
        (["endpoint.url"], [Change("endpoint", "url")], []),
        (["id", "type", "name", "etag"], [], ["id", "type", "name"]),
    ],
)
def test_masks(paths: list[str], changes: list[Change], identity: list[str]) -> None:
    assert read_mask(UPDATABLE, paths, READ_ONLY) == (changes, identity)


def test_a_star_means_every_field_that_can_change() -> None:
    changes, _ = read_mask(UPDATABLE, ["*"], READ_ONLY)
    assert {change.field for change in changes} == set(UPDATABLE.mutable)


@pytest.mark.parametrize(
    ("paths", "reason", "fields"),
    [
        (["foo", "state"], "FIELD_INVALID", ["update_mask"]),
        ([""], "FIELD_INVALID", ["update_mask"]),
        (["endpoint.foo"], "FIELD_INVALID", ["update_mask"]),
        (["display_name.x"], "FIELD_INVALID", ["update_mask"]),
        (["labels."], "FIELD_INVALID", ["update_mask"]),
        (["state", "source"], "FIELD_IMMUTABLE", ["state", "source"]),
    ],
)
def test_masks_that_are_refused(paths: list[str], reason: str, fields: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_mask(UPDATABLE, paths, READ_ONLY)
    assert caught.value.reason == reason
    assert [one.field for one in caught.value.violations] == fields


OLD = Content(owner="a", labels={"x": "1", "y": "2"}, endpoint=Endpoint(command="c", args=("d",)))


@pytest.mark.parametrize(
    ("new", "changes", "expected"),
    [
        (Content(owner="b", version="9"), [Change("owner")], replace(OLD, owner="b")),
        (Content(), [Change("owner")], replace(OLD, owner="")),
        (
            Content(labels={"x": "3", "z": "4"}),
            [Change("labels", "x")],
            replace(OLD, labels={"x": "3", "y": "2"}),
        ),
        (Content(), [Change("labels", "x")], replace(OLD, labels={"y": "2"})),
        (Content(labels={"z": "4"}), [Change("labels")], replace(OLD, labels={"z": "4"})),
        (
            Content(endpoint=Endpoint(args=("e",))),
            [Change("endpoint", "args")],
            replace(OLD, endpoint=Endpoint(command="c", args=("e",))),
        ),
        (
            Content(latency_limit_us=5),
            [Change("latency_limit_ms")],
            replace(OLD, latency_limit_us=5),
        ),
    ],
)
def test_applying_changes(new: Content, changes: list[Change], expected: Content) -> None:
    assert apply(UPDATABLE, OLD, new, changes) == expected


@given(st.lists(st.text(max_size=30), max_size=8))
def test_no_mask_is_more_than_refused(paths: list[str]) -> None:
    reason = ""
    try:
        changes, _ = read_mask(UPDATABLE, paths, READ_ONLY)
        apply(UPDATABLE, OLD, Content(), changes)
    except OrcaError as error:
        reason = error.reason
    assert reason in ("", "FIELD_INVALID", "FIELD_IMMUTABLE")
