"""Bounds of what may be said of a workflow; collects every violation, never only the first."""

import re

from orca_server.domain.checks import (
    MAX_SHORT,
    Violations,
    check_kebab_case,
    check_labels,
    check_name,
    check_range,
    url_problem,
)
from orca_server.domain.cron import cron_problem
from orca_server.domain.workflows import Content, Schedule

MAX_CRON = 500
INTERVAL_SECONDS = (10, 31_622_400)
SLO_SECONDS = (1, 31_622_400)
# Shape of the name of a time zone; whether there is one is for who has a list of them.
TIMEZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
MAX_TIMEZONE = 64


def check_identity(violations: Violations, prefix: str, provider: str, name: str) -> None:
    """Checks a workflow's provider and name, which are both required."""
    check_kebab_case(violations, f"{prefix}provider", provider, "n8n")
    check_name(violations, f"{prefix}name", name)


def check_content(violations: Violations, prefix: str, content: Content) -> None:
    """Checks all that is said of a workflow; `prefix` stands before each field's name."""
    violations.text(f"{prefix}display_name", content.display_name, MAX_SHORT)
    violations.text(f"{prefix}external_id", content.external_id, MAX_SHORT)
    violations.text(f"{prefix}owner", content.owner, MAX_SHORT)
    if content.url and (problem := url_problem(content.url)):
        violations.add(f"{prefix}url", *problem)
    check_schedule(violations, f"{prefix}schedule", content.schedule)
    check_labels(violations, f"{prefix}labels", content.labels)


def check_schedule(violations: Violations, name: str, schedule: Schedule) -> None:
    """Checks when a workflow should run."""
    if schedule.cron:
        _check_cron(violations, f"{name}.cron", schedule.cron)
    if schedule.interval_seconds is not None:
        if schedule.cron:
            message = "has both cron and interval_seconds; one of them is allowed"
            violations.add(name, "EXCLUSIVE", message)
        check_range(
            violations, f"{name}.interval_seconds", schedule.interval_seconds, INTERVAL_SECONDS
        )
    if schedule.timezone and not schedule.cron:
        violations.add(f"{name}.timezone", "NOT_ALLOWED", "is the time zone of a cron: give one")


def _check_cron(violations: Violations, name: str, cron: str) -> None:
    if len(cron) > MAX_CRON:
        message = f"has {len(cron)} characters, at most {MAX_CRON} are allowed"
        violations.add(name, "TOO_LONG", message)
    elif problem := cron_problem(cron):
        violations.add(name, "INVALID_FORMAT", problem)
