"""`orca --install-completion`: a new bash completes commands, subcommands and options."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ORCA = Path(sys.executable).with_name("orca")
# What bash does when somebody presses Tab at the end of the line.
TAB = """
source "$HOME/.bashrc"
COMP_WORDS=({words}) COMP_CWORD={position}
function=$(complete -p orca); function=${{function##*-F }}; function=${{function%% *}}
"$function" orca
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of somebody who installed it for bash."""
    folder = tmp_path_factory.mktemp("home")
    installed = _run([str(ORCA), "--install-completion", "bash"], folder)
    assert "completion installed" in installed
    return folder


def _run(command: list[str], home: Path) -> str:
    environment = {"HOME": str(home), "PATH": f"{ORCA.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("orca", "work"), ["workflows"]),
        (("orca", "runs", ""), ["get", "list"]),
        (("orca", "drift", ""), ["accept", "list", "show"]),
        (("orca", "agents", "list", "--wat"), ["--watch"]),
        (("orca", "agents", "list", "--output", "w"), ["wide"]),
    ],
    ids=" ".join,
)
def test_tab_completes(words: tuple[str, ...], found: list[str], home: Path) -> None:
    script = TAB.format(words=shlex.join(words), position=len(words) - 1)
    assert sorted(_run(["bash", "-c", script], home).split()) == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_the_script_of_each_shell_can_be_printed(shell: str, tmp_path: Path) -> None:
    assert "orca" in _run([str(ORCA), "--show-completion", shell], tmp_path)
    assert not list(tmp_path.iterdir())
