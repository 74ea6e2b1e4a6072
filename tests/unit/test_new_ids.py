"""New ids: UUIDs of version 7, each greater than the one before."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from orca_server.domain.ids import uuid7
from orca_server.runtime.new_ids import new_id


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_ids_have_the_shape_of_version_7_and_order_by_time(ms: int, random: bytes) -> None:
    made = uuid7(ms, random)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert made.int >> 80 == ms


@given(
    st.lists(st.tuples(st.integers(0, 2), st.sampled_from((b"\x00", b"\xff", b"7"))), min_size=2)
)
def test_each_id_is_greater_than_the_one_before_whatever_clock_and_chance_say(
    draws: list[tuple[int, bytes]],
) -> None:
    made: list[UUID] = []
    for ms, chance in draws:
        made.append(uuid7(ms, chance * 10, made[-1] if made else None))
    assert made == sorted(set(made))
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}


def test_ids_of_one_process_are_in_the_order_of_their_making() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
