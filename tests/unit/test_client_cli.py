"""What all commands have in common: help, forms of output, advice."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout

import pytest
import typer
import yaml
from typer.models import CommandInfo

import orca
from orca.cli import (
    agents_app,
    events_app,
    mount,
    registry_app,
    runs_app,
    telemetry_app,
    trust_app,
    workflows_app,
)
from orca.cli.failures import advice
from orca.cli.output import Output, Printer, clean, number, plain, word
from orca.v1.agent_pb2 import Agent
from orca.v1.trust_pb2 import Trust
from orca_adapters.cli import mount as mount_adapters

GROUPS = {
    "agents": agents_app,
    "events": events_app,
    "registry": registry_app,
    "runs": runs_app,
    "telemetry": telemetry_app,
    "trust": trust_app,
    "workflows": workflows_app,
}


def _commands() -> list[tuple[str, str]]:
    top = typer.Typer()
    mount(top)
    mount_adapters(top)
    found = [(f"orca {each.name}", _help(each)) for each in top.registered_commands]
    for group, app in GROUPS.items():
        found += [(f"orca {group} {each.name}", _help(each)) for each in app.registered_commands]
    return found


def _help(command: CommandInfo) -> str:
    return command.help or command.callback.__doc__ or ""


@pytest.mark.parametrize(("name", "text"), _commands(), ids=[name for name, _ in _commands()])
def test_help_is_whole_sentences_with_an_example(name: str, text: str) -> None:
    assert text.partition("\n")[0].endswith(".")
    assert f"Example: {name}" in text


def test_all_the_commands_are_there() -> None:
    expected = {
        "orca status", "orca top", "orca probe", "orca registry sync", "orca registry import",
        "orca agents list", "orca agents get", "orca agents enrol", "orca agents suspend",
        "orca agents resume", "orca agents retire", "orca events send", "orca events list",
        "orca runs list", "orca runs get", "orca telemetry import",
        "orca telemetry send", "orca trust show", "orca trust refresh", "orca trust history",
        "orca workflows list", "orca workflows get", "orca workflows create",
        "orca workflows update", "orca workflows pause", "orca workflows resume",
        "orca workflows retire", "orca workflows delete",
    }  # fmt: skip
    assert expected <= {name for name, _ in _commands()}


def test_json_is_what_rest_prints() -> None:
    document = plain(Trust(trust_score=1.0, cost_usd=0.25, worst=[{"trust_level": 0.5}]))
    assert document["trust_score"] == 1
    assert json.dumps(document["trust_score"]) == "1"
    assert document["worst"][0]["trust_level"] == 0.5
    assert document["capped_by"] == []
    assert document["stale"] is False
    assert document["band"] == "BAND_UNSPECIFIED"
    assert "drift_rate_pct" not in document


def test_json_and_yaml_say_the_same() -> None:
    document = plain(Agent(name="é", labels={"a": "yes"}, trust_level=0.1))
    printed = {}
    for form in (Output.JSON, Output.YAML):
        with redirect_stdout(io.StringIO()) as out:
            Printer(form).show(document, "for people")
        printed[form] = out.getvalue()
    assert json.loads(printed[Output.JSON]) == yaml.safe_load(printed[Output.YAML]) == document
    assert "for people" not in printed[Output.JSON]


def test_what_strangers_wrote_does_nothing_to_a_terminal() -> None:
    assert clean("a\x1b[31mb\x07c\x9b") == "a�[31mb�c�"
    with redirect_stdout(io.StringIO()) as out:
        Printer(Output.TABLE).show({}, "[bold]kept[/bold]")
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (1234.0, "1,234"), (0.12345, "0.1235"), (-1.5, "-1.5000")]
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, None), (Agent.STATE_ACTIVE, "active"), (99, "99")])
def test_states_for_people(value: int, text: str | None) -> None:
    assert word(Agent.State.Name, value, "STATE_") == text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (orca.Unavailable("x"), "orca up"),
        (orca.Unavailable("x", reason="NOT_READY"), "orca status"),
        (orca.Unauthenticated("x", reason="TOKEN_EXPIRED"), "orca tokens create"),
        (orca.NotAllowedNow("x", reason="AGENT_IN_CATALOG"), "orca agents enrol"),
        (orca.DeadlineExceeded("x"), "--timeout"),
        (orca.Changed("x"), "try again"),
        (orca.ServerError("x"), ""),
    ],
)
def test_advice_where_there_is_some(error: orca.OrcaError, words: str) -> None:
    found = advice(error)
    assert words in found
    assert bool(words) == bool(found)


def test_orca_does_not_load_a_server_until_a_command_needs_it() -> None:
    script = (
        "import sys, orca_server.cli; "
        "found = {'asyncpg', 'jwt', 'numpy', 'orca_server.settings', 'pydantic'} & {*sys.modules}; "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
