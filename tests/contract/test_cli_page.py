"""docs/cli.md: what the commands say of themselves."""

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_committed_page_is_what_the_commands_say(tmp_path: Path) -> None:
    written = tmp_path / "cli.md"
    command = ("typer", "orca_server.cli", "utils", "docs", "--name", "orca", "--output")
    subprocess.run([sys.executable, "-m", *command, str(written)], check=True, capture_output=True)
    assert PAGE.read_text() == written.read_text(), "run: make gen"
