"""`orca workflows` as a shell runs it, against a real server."""

import json
from typing import Any

import pytest
import yaml

from tests.e2e.commands import address, parsed, printed, run_orca

__all__ = ["address"]


def workflows(*arguments: object, address: str) -> Any:
    """What a command on workflows prints as JSON."""
    return parsed("workflows", *arguments, address=address)


def test_a_workflow_from_its_creation_to_its_deletion(address: str) -> None:
    made = workflows(
        *("create", "n8n/nightly", "--cron", "0 6 * * 1-5", "--timezone", "Europe/Berlin"),
        *("--owner", "billing", "--label", "team=a", "--label", "tier=1"),
        *("--freshness-slo-hours", "26.5", "--external-id", "wf-17"),
        *("--url", "https://n8n.example.org/workflow/17", "--display-name", "Nightly invoices"),
        address=address,
    )
    assert made["schedule"] == {"cron": "0 6 * * 1-5", "timezone": "Europe/Berlin"}
    assert (made["state"], made["freshness"]) == ("STATE_ACTIVE", "FRESHNESS_UNMEASURED")
    assert (made["labels"], made["freshness_slo_hours"]) == ({"team": "a", "tier": "1"}, 26.5)
    for name in ("nightly", "n8n/nightly", made["id"]):
        assert workflows("get", name, address=address) == made
    changed = workflows(
        *("update", "nightly", "--label", "team=b", "--every", "3600", "--clear", "owner"),
        *("--clear", "labels.tier", "--reason", "moved"),
        address=address,
    )
    assert (changed["owner"], changed["labels"]) == ("", {"team": "b"})
    assert changed["schedule"] == {"cron": "", "timezone": "", "interval_seconds": 3600}
    assert changed["display_name"] == "Nightly invoices"
    for command, state in (("pause", "PAUSED"), ("resume", "ACTIVE"), ("retire", "RETIRED")):
        moved = workflows(command, "n8n/nightly", "--reason", "why", address=address)
        assert [each["state"] for each in moved["workflows"]] == [f"STATE_{state}"]
    assert workflows("delete", "nightly", address=address)["workflows"][0]["id"] == made["id"]
    result = run_orca("workflows", "get", "n8n/nightly", address=address)
    assert result.returncode == 1
    assert "[WORKFLOW_NOT_FOUND]" in result.stderr
    assert "orca workflows list" in result.stderr


def test_lists_in_every_form(address: str) -> None:
    for name in ("a1", "a2", "a3"):
        workflows("create", f"airflow/{name}", address=address)
    query = ("workflows", "list", "--filter", 'provider = "airflow"', "--order-by", "name desc")
    listed = parsed(*query, address=address)
    assert [each["name"] for each in listed["workflows"]] == ["a3", "a2", "a1"]
    assert (listed["total_size"], listed["next_page_token"]) == (3, "")
    assert yaml.safe_load(printed(*query, "--output", "yaml", address=address)) == listed
    table = printed(*query, address=address).splitlines()
    assert table[0].split()[:4] == ["PROVIDER", "NAME", "STATE", "FRESHNESS"]
    assert [line.split()[1] for line in table[1:]] == ["a3", "a2", "a1"]
    first = parsed(*query, "--limit", "1", address=address)
    assert [each["name"] for each in first["workflows"]] == ["a3"]
    assert first["next_page_token"]
    details = printed("workflows", "get", "a1", address=address)
    assert "airflow/a1" in details
    assert "unmeasured" in details


def test_what_cannot_be_changed_is_told_beside_what_was(address: str) -> None:
    for name in ("b1", "b2"):
        workflows("create", f"make/{name}", address=address)
    printed("workflows", "retire", "b2", address=address)
    command = ("workflows", "pause", "b1", "b2", "b3", "--output", "json")
    result = run_orca(*command, address=address)
    assert result.returncode == 1
    told = json.loads(result.stdout)
    assert [each["name"] for each in told["workflows"]] == ["b1"]
    assert [(each["workflow"], each["reason"]) for each in told["refused"]] == [
        ("b2", "WORKFLOW_RETIRED"),
        ("b3", "WORKFLOW_NOT_FOUND"),
    ]
    taken = run_orca("workflows", "create", "make/b1", address=address)
    assert "[WORKFLOW_EXISTS]" in taken.stderr
    assert "orca workflows update" in taken.stderr


def test_a_missing_workflow_is_created_by_an_update_when_that_is_allowed(address: str) -> None:
    command = ("update", "zapier/leads", "--allow-missing", "--owner", "sales")
    made = workflows(*command, address=address)
    assert (made["provider"], made["name"], made["owner"]) == ("zapier", "leads", "sales")
    assert workflows(*command, address=address) == made
    workflows("create", "make/leads", address=address)
    result = run_orca("workflows", "get", "leads", address=address)
    assert "[WORKFLOW_AMBIGUOUS]" in result.stderr
    assert "PROVIDER/NAME" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("create", "nightly"), "PROVIDER/NAME"),
        (("create", "n8n/x", "--every", "60", "--cron", "* * * * *"), "--every"),
        (("create", "n8n/x", "--label", "team"), "KEY=VALUE"),
        (("update", "x"), "--clear"),
        (("list", "--limit", "0"), "--limit"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_ends_with_2(arguments: tuple[str, ...], words: str) -> None:
    result = run_orca("workflows", *arguments, address="localhost:1")
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_fields_are_named(address: str) -> None:
    result = run_orca("workflows", "create", "n8n/x", "--cron", "often", address=address)
    assert result.returncode == 1
    assert "workflow.schedule.cron" in result.stderr
    assert "[FIELD_INVALID]" in result.stderr
