"""The client's commands. The server's `orca` mounts them beside its own.

`mount(app)` adds them all to a typer app; `trust_app` and the other groups may be extended.
"""

import typer

from orca.cli.agents import agents_app
from orca.cli.events import events_app
from orca.cli.findings import drift_app, violations_app
from orca.cli.registry import registry_app
from orca.cli.reports import healing, reports_app
from orca.cli.runs import runs_app
from orca.cli.search import search
from orca.cli.status import status
from orca.cli.telemetry import telemetry_app
from orca.cli.telemetry_list import list_telemetry
from orca.cli.top import top
from orca.cli.trust import trust_app
from orca.cli.workflows import workflows_app

__all__ = [
    "agents_app",
    "drift_app",
    "events_app",
    "mount",
    "registry_app",
    "reports_app",
    "runs_app",
    "telemetry_app",
    "trust_app",
    "violations_app",
    "workflows_app",
]

telemetry_app.command("list")(list_telemetry)


def mount(app: typer.Typer) -> None:
    """Adds the client's commands to the app."""
    help_there = (healing.__doc__ or "").replace("orca reports healing", "orca healing")
    app.command("healing", help=help_there)(healing)
    app.command("search")(search)
    app.command("status")(status)
    app.command("top")(top)
    app.add_typer(agents_app, name="agents")
    app.add_typer(drift_app, name="drift")
    app.add_typer(events_app, name="events")
    app.add_typer(registry_app, name="registry")
    app.add_typer(reports_app, name="reports")
    app.add_typer(runs_app, name="runs")
    app.add_typer(telemetry_app, name="telemetry")
    app.add_typer(trust_app, name="trust")
    app.add_typer(violations_app, name="violations")
    app.add_typer(workflows_app, name="workflows")
