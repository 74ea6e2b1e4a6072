"""A telemetry stream: receipts in order, whatever breaks."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

import orca
from orca.v1.agent_service_pb2 import StreamTelemetryRequest, StreamTelemetryResponse
from orca.v1.telemetry_pb2 import TelemetryRecord
from tests.unit.client_server import Refusal, Script, scripted_server

QUICK = orca.StreamSettings(in_flight=4, first_backoff_seconds=0.001, max_backoff_seconds=0.01)


def _batches(count: int) -> list[list[TelemetryRecord]]:
    return [[TelemetryRecord(id=f"{number}")] for number in range(count)]


def _receipt(batch: StreamTelemetryRequest) -> StreamTelemetryResponse:
    return StreamTelemetryResponse(batch_id=batch.batch_id, accepted=len(batch.records))


async def _stream(
    script: Script, batches: object, settings: orca.StreamSettings = QUICK
) -> list[str]:
    async with scripted_server(script) as address, orca.connect(address) as client:
        return [receipt.batch_id async for receipt in client.telemetry.stream(batches, settings)]


async def test_each_batch_has_its_receipt_in_order() -> None:
    script = Script()
    assert await _stream(script, _batches(50)) == [str(number) for number in range(50)]
    assert script.streams == 1
    assert [batch.records[0].id for batch in script.batches] == [str(n) for n in range(50)]


async def test_nothing_to_send_opens_no_stream_in_vain() -> None:
    assert await _stream(Script(), []) == []


async def test_batches_may_come_slowly() -> None:
    async def slow() -> AsyncIterator[list[TelemetryRecord]]:
        for batch in _batches(3):
            await asyncio.sleep(0.01)
            yield batch

    assert await _stream(Script(), slow()) == ["0", "1", "2"]


@pytest.mark.parametrize(
    "end",
    [
        Refusal(grpc.StatusCode.UNAVAILABLE, "SERVER_DRAINING"),
        Refusal(grpc.StatusCode.UNAVAILABLE),
        Refusal(grpc.StatusCode.INTERNAL),
        Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "INGEST_QUEUE_FULL", retry_after_seconds=0.01),
    ],
    ids=["draining", "down", "reset", "full"],
)
async def test_after_a_break_only_what_is_unanswered_is_sent_again(end: Refusal) -> None:
    broken = {"3", "7", "8"}

    def on_batch(batch: StreamTelemetryRequest) -> StreamTelemetryResponse | Refusal:
        if batch.batch_id in broken:
            broken.discard(batch.batch_id)
            return end
        return _receipt(batch)

    script = Script(on_batch=on_batch)
    assert await _stream(script, _batches(12)) == [str(number) for number in range(12)]
    assert script.streams == 4
    arrived = [batch.batch_id for batch in script.batches]
    assert arrived.count("3") == 2
    assert arrived.count("0") == arrived.count("2") == 1


async def test_a_server_that_ends_the_stream_early_is_tried_again() -> None:
    class EndsEarly(Script):
        async def stream(self, requests, context):  # type: ignore[no-untyped-def]
            self.streams += 1
            async for batch in requests:
                yield _receipt(batch)
                if self.streams < 3:
                    return

    script = EndsEarly()
    assert await _stream(script, _batches(6)) == [str(number) for number in range(6)]
    assert script.streams == 3


async def test_a_stream_without_receipts_counts_as_broken() -> None:
    script = Script()

    def on_batch(batch: StreamTelemetryRequest) -> StreamTelemetryResponse | None:
        return None if script.streams == 1 else _receipt(batch)

    script.on_batch = on_batch
    stalling = orca.StreamSettings(stall_seconds=0.05, first_backoff_seconds=0.001)
    assert await _stream(script, _batches(3), stalling) == ["0", "1", "2"]
    assert script.streams == 2


async def test_it_gives_up_after_the_attempts_without_a_receipt() -> None:
    script = Script(on_batch=lambda batch: Refusal(grpc.StatusCode.UNAVAILABLE))
    few = orca.StreamSettings(max_attempts=3, first_backoff_seconds=0.001)
    with pytest.raises(orca.Unavailable):
        await _stream(script, _batches(2), few)
    assert script.streams == 3


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING"),
        Refusal(grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
    ids=["denied", "server's own fault"],
)
async def test_a_refusal_ends_it_at_once(refusal: Refusal) -> None:
    async def one_and_waiting() -> AsyncIterator[list[TelemetryRecord]]:
        # grpc.aio may hide the refusal behind an error of its own if a write fails meanwhile;
        # then it is found by the next stream. So nothing is written here.
        yield _batches(1)[0]
        await asyncio.Event().wait()

    script = Script(on_batch=lambda batch: refusal)
    with pytest.raises(orca.OrcaError) as caught:
        await _stream(script, one_and_waiting())
    assert caught.value.reason == refusal.reason
    assert script.streams == 1


async def test_a_receipt_out_of_turn_is_an_error() -> None:
    script = Script(on_batch=lambda batch: StreamTelemetryResponse(batch_id="99"))
    with pytest.raises(orca.ServerError) as caught:
        await _stream(script, _batches(2))
    assert caught.value.reason == "RECEIPT_OUT_OF_TURN"


async def test_no_more_than_the_window_is_on_its_way() -> None:
    script = Script(on_batch=lambda batch: None)
    narrow = orca.StreamSettings(in_flight=3, stall_seconds=0.2, max_attempts=1)
    with pytest.raises(orca.Unavailable):
        await _stream(script, _batches(20), narrow)
    assert len(script.batches) == 3


async def test_a_source_that_fails_does_so_after_the_receipts_of_what_came_before() -> None:
    def source() -> Iterator[list[TelemetryRecord]]:
        yield from _batches(2)
        raise RuntimeError("disk gone")

    received = []

    async def receive(client: orca.Client) -> None:
        async for receipt in client.telemetry.stream(source(), QUICK):
            received.append(receipt.batch_id)  # noqa: PERF401 - kept when it raises

    async with scripted_server(Script()) as address, orca.connect(address) as client:
        with pytest.raises(RuntimeError, match="disk gone"):
            await receive(client)
    assert received == ["0", "1"]


async def test_it_may_be_left_early() -> None:
    async with scripted_server(Script()) as address, orca.connect(address) as client:
        receipts = client.telemetry.stream(_batches(100), QUICK)
        async for receipt in receipts:
            if receipt.batch_id == "2":
                break
        await receipts.aclose()
        assert not [task for task in asyncio.all_tasks() if "feed" in str(task.get_coro())]


async def test_a_restarted_server_is_found_again() -> None:
    first, second = Script(), Script()
    received = []
    async with scripted_server(first) as address:
        port = int(address.rsplit(":", 1)[1])
        client = orca.connect(address)
        stop = asyncio.Event()

        async def source() -> AsyncIterator[list[TelemetryRecord]]:
            for number, batch in enumerate(_batches(6)):
                if number == 3:
                    await stop.wait()
                yield batch

        receipts = client.telemetry.stream(source(), orca.StreamSettings())
        async for receipt in receipts:
            received.append(receipt.batch_id)
            if receipt.batch_id == "2":
                break
    async with scripted_server(second, port), client:
        stop.set()
        received += [receipt.batch_id async for receipt in receipts]
    assert received == [str(number) for number in range(6)]
    assert len(first.batches) == 3


def test_records_are_batched() -> None:
    records = [TelemetryRecord(id=str(number)) for number in range(5)]
    assert [len(batch) for batch in orca.batched(records, 2)] == [2, 2, 1]
