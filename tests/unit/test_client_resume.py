"""What an import remembers: the same keys at each run, whatever happened between them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import orca
from orca.cli.backfill import End, decide
from orca.cli.resume import ResumeFile
from orca.cli.series import Extent

AGENT, OTHER = ("id-1", "mcp/one"), ("id-2", "mcp/two")
SECOND = 1_000_000
OLD = Extent(rows=3, first_us=1000 * SECOND, last_us=2000 * SECOND)


def _recent() -> Extent:
    last = int(datetime.now(UTC).timestamp()) * SECOND
    return Extent(rows=3, first_us=last - 3600 * SECOND, last_us=last - 60 * SECOND)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "series.csv"
    path.write_text("timestamp,v\n1,2\n")
    return path


def test_an_old_series_is_moved_to_end_now_and_stays_there(source: Path) -> None:
    before = datetime.now(UTC)
    first = decide(ResumeFile(source), source, AGENT, OLD, End(), anew=False)
    end = datetime.fromisoformat(first.ends_at)
    assert before - timedelta(seconds=1) <= end <= datetime.now(UTC)
    second = decide(ResumeFile(source), source, AGENT, OLD, End(), anew=False)
    assert second.shift_us == first.shift_us
    said = decide(ResumeFile(source), source, AGENT, OLD, End(now=True), anew=False)
    assert said.shift_us == first.shift_us


def test_a_recent_series_keeps_its_times_unless_told_otherwise(
    source: Path, tmp_path: Path
) -> None:
    kept = decide(ResumeFile(source), source, AGENT, _recent(), End(), anew=False)
    assert kept.shift_us == 0
    moved = decide(ResumeFile(source), source, OTHER, _recent(), End(now=True), anew=False)
    assert moved.shift_us > 0


def test_a_series_that_lies_ahead_is_moved_back(source: Path) -> None:
    last = int(datetime.now(UTC).timestamp() + 86400) * SECOND
    ahead = Extent(rows=1, first_us=last, last_us=last)
    assert decide(ResumeFile(source), source, AGENT, ahead, End(), anew=False).shift_us < 0


def test_it_may_be_told_where_to_end_or_to_stay(source: Path) -> None:
    told = decide(ResumeFile(source), source, AGENT, OLD, End(at_us=5000 * SECOND), anew=False)
    assert told.shift_us == 3000 * SECOND
    assert told.ends_at == "1970-01-01T01:23:20Z"
    stays = decide(ResumeFile(source), source, OTHER, OLD, End(unmoved=True), anew=False)
    assert stays.shift_us == 0


def test_another_end_is_refused_since_it_would_count_twice(source: Path) -> None:
    first = decide(ResumeFile(source), source, AGENT, OLD, End(), anew=False)
    for end in (End(at_us=1), End(unmoved=True)):
        with pytest.raises(orca.ConfigurationError) as caught:
            decide(ResumeFile(source), source, AGENT, OLD, end, anew=False)
        assert caught.value.reason == "SERIES_ALREADY_IMPORTED"
    again = decide(ResumeFile(source), source, AGENT, OLD, End(at_us=1), anew=True)
    assert again.shift_us != first.shift_us
    assert len(json.loads(ResumeFile(source).path.read_text())["imports"]) == 1


def test_each_agent_has_its_own_decision(source: Path) -> None:
    one = decide(ResumeFile(source), source, AGENT, OLD, End(at_us=1), anew=False)
    two = decide(ResumeFile(source), source, OTHER, OLD, End(at_us=2), anew=False)
    assert one.shift_us != two.shift_us
    assert len(json.loads(ResumeFile(source).path.read_text())["imports"]) == 2


def test_a_file_that_has_grown_keeps_its_shift_and_another_one_does_not(source: Path) -> None:
    first = decide(ResumeFile(source), source, AGENT, OLD, End(), anew=False)
    with source.open("a") as file:
        file.write("2,3\n")
    assert ResumeFile(source).find(AGENT[0], source) == first
    source.write_text("timestamp,v\n7,7\n8,8\n9,9\n")
    assert ResumeFile(source).find(AGENT[0], source) is None


def test_how_far_it_is_is_noted(source: Path) -> None:
    resume = ResumeFile(source)
    decision = decide(resume, source, AGENT, OLD, End(), anew=False)
    resume.acknowledge(decision, 2, finished=True)
    (noted,) = json.loads(resume.path.read_text())["imports"]
    assert (noted["rows_acknowledged"], noted["finished"]) == (2, True)


def test_it_lies_beside_the_input_or_in_the_folder_that_is_named(
    source: Path, tmp_path: Path
) -> None:
    assert ResumeFile(source).path == tmp_path / "series.csv.orca-resume.json"
    state = tmp_path / "state"
    state.mkdir()
    named = ResumeFile(source, state).path
    assert named.parent == state
    other = tmp_path / "other"
    other.mkdir()
    assert ResumeFile(other / "series.csv", state).path != named


def test_a_folder_that_is_not_there_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(orca.ConfigurationError, match="--state-dir") as caught:
        ResumeFile(source, tmp_path / "missing")
    assert caught.value.reason == "STATE_NOT_WRITABLE"


@pytest.mark.parametrize("text", ["{", "{}", '{"version":9,"imports":[]}', '{"version":1}', "[]"])
def test_a_resume_file_that_is_not_ours_is_named(source: Path, text: str) -> None:
    path = ResumeFile(source).path
    path.write_text(text)
    with pytest.raises(orca.ConfigurationError, match=r"series\.csv\.orca-resume") as caught:
        ResumeFile(source)
    assert caught.value.reason == "STATE_UNREADABLE"
