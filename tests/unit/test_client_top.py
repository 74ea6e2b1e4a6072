"""The screen of `orca top`: what it shows, in how many lines, and the rate of ingest."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from orca.cli.top_screen import Look, draw
from orca.v1.system_service_pb2 import IngestStatus, Status
from orca.v1.trust_pb2 import Band, Trust, TrustComponent, TrustComponents, TrustState, WorstAgent
from orca.v1.workflow_pb2 import Workflow

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
PART = TrustComponent(score=0.5, weight=0.25, contribution=0.125, measured=1200, silent=3)
TRUST = Trust(
    trust_score=0.5,
    band=Band.BAND_MODERATE,
    capped_by=["sync_freshness"],
    components=TrustComponents(agent_uptime=PART),
    worst=[
        WorstAgent(type="mcp", name=f"w{n}", trust_level=n / 10, trust_state=TrustState.Value(s))
        for n, s in enumerate(("TRUST_STATE_SILENT", "TRUST_STATE_MEASURED") * 5)
    ],
)
STATUS = Status(instance="a", ingest=IngestStatus(accepted=100, queued_records=7))
STALE = tuple(Workflow(provider="n8n", name=f"s{n}", last_outcome="failed") for n in range(50))


def lines(look: Look, height: int = 40, problem: str = "") -> list[str]:
    console = Console(file=io.StringIO(), width=100, height=height)
    with console.capture() as capture:
        console.print(draw(look, height, problem))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_it_shows_trust_its_parts_the_worst_and_the_stale() -> None:
    shown = lines(Look(AT, TRUST, STATUS, STALE[:2], rate=12.34))
    assert shown[0] == "trust 0.5000  moderate (capped by sync_freshness)  as of -"
    assert shown[1].startswith("ingest 12.3 records/s, 7 queued")
    assert shown[1].endswith("12:00:00Z  q ends")
    assert shown[4].split() == [
        *("agent_uptime", "0.5000", "0.2500", "0.1250", "1,200", "0", "3", "0"),
    ]
    assert shown[10].split() == ["mcp/w0", "0.0000", "silent"]
    assert shown[-3].startswith("2 STALE")
    assert shown[-1].split() == ["n8n/s1", "-", "failed", "-"]


@pytest.mark.parametrize("height", [24, 30, 60])
@pytest.mark.parametrize("stale", [0, 3, 50])
def test_it_fits_the_screen(height: int, stale: int) -> None:
    shown = lines(Look(AT, TRUST, STATUS, STALE[:stale]), height)
    assert len(shown) <= height
    assert sum("mcp/w" in line for line in shown) >= 3
    assert sum("n8n/s" in line for line in shown) >= min(3, stale)


def test_a_name_of_a_stranger_takes_one_line_and_does_nothing() -> None:
    workflow = Workflow(provider="n8n", name="x\n\x1b[31m" + "y" * 200)
    shown = lines(Look(AT, Trust(), STATUS, (workflow,)))
    assert len(shown[-1]) < 100
    assert "\x1b" not in "".join(shown)
    assert "No agent has a trust yet." in shown


def test_an_old_look_says_why() -> None:
    assert lines(Look(AT, TRUST, STATUS, ()), problem="nobody answers")[0].endswith(
        "old: nobody answers"
    )


@pytest.mark.parametrize(
    ("instance", "accepted", "rate"),
    [("a", 150, 25.0), ("a", 100, 0.0), ("a", 9, None), ("b", 150, None)],
)
def test_the_rate_is_that_of_one_process(instance: str, accepted: int, rate: float | None) -> None:
    before = Look(AT, TRUST, STATUS, ())
    status = Status(instance=instance, ingest=IngestStatus(accepted=accepted))
    after = replace(before, at=AT + timedelta(seconds=2), status=status).after(before)
    assert after.rate == rate
    assert before.after(None).rate is None
