"""`orca top` on a terminal, against a real server."""

import os
import signal

import pytest

from tests.e2e.commands import ORCA, address, run_orca
from tests.serving import token_for
from tests.terminal import Terminal

__all__ = ["address"]

LEAVES_THE_SCREEN = "\x1b[?1049l"


def _top(address: str, **more: str) -> Terminal:
    environment = {"PATH": os.environ["PATH"], "ORCA_ADDRESS": address, **more}
    return Terminal([ORCA, "top", "--every", "0.1"], environment)


@pytest.mark.parametrize("end", ["q", "Q", "signal"])
def test_it_draws_again_and_again_until_it_is_told_to_end(end: str, address: str) -> None:
    with _top(address) as terminal:
        terminal.read_until("agent_uptime", times=3)
        assert "records/s" in terminal.seen
        assert not terminal.is_as_before
        terminal.press("x")
        if end == "signal":
            terminal.process.send_signal(signal.SIGINT)
        else:
            terminal.press(end)
        terminal.read_until(LEAVES_THE_SCREEN)
        assert terminal.end() == 0
        assert terminal.is_as_before
        assert "Traceback" not in terminal.seen


def test_a_viewer_may_look(address: str) -> None:
    with _top(address, ORCA_TOKEN=token_for("viewer")) as terminal:
        terminal.read_until("agent_uptime")
        terminal.press("q")
        terminal.read_until(LEAVES_THE_SCREEN)
        assert terminal.end() == 0


def test_without_a_server_it_ends_with_advice_on_the_usual_screen() -> None:
    with _top("localhost:1") as terminal:
        terminal.read_until("orca up")
        assert terminal.end() == 1
        assert terminal.is_as_before
        assert terminal.seen.index(LEAVES_THE_SCREEN) < terminal.seen.index("error: ")


def test_without_a_terminal_it_says_what_to_use_instead(address: str) -> None:
    result = run_orca("top", address=address)
    assert result.returncode == 1
    assert "[TERMINAL_NEEDED]" in result.stderr
    assert "--watch" in result.stderr
    assert result.stdout == ""
