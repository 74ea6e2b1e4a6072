"""examples/first-fleet.sh on the whole data sets, twice, as the README shows it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.test_up import ROOT, Up, up

DATA = Path(os.environ.get("ORCA_SHARED", ROOT.parent / "shared")) / "data"
NEEDS_DATA = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"the whole data sets are not there ({DATA}); set ORCA_SHARED"
)

__all__ = ["up"]  # the fixture


def play(stack: Up) -> str:
    done = subprocess.run(
        ["bash", "examples/first-fleet.sh", str(DATA)],
        cwd=ROOT,
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@NEEDS_DATA
def test_a_first_fleet_is_counted_once_however_often_it_is_played(up: Up) -> None:
    assert Path(sys.executable).parent == ROOT / ".venv" / "bin", "the script runs .venv"
    up.start()
    first, second = play(up), play(up)
    imported = re.findall(r" rows: \d+ accepted, 0 duplicates", first)
    assert len(imported) == 5  # the sixth was killed in the middle
    assert second.count(" 0 accepted, ") == 6
    for output in (first, second):
        assert output.count("rows in the file") == 6
        assert output.count("/tools/add_note/description") >= 2  # shown, and accepted
        assert output.count("bytes\n") == 4
        assert output.endswith("All of it holds.\n")
