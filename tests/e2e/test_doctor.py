"""`orca doctor` as a shell runs it: on nothing at all, on a server, and on `orca up`."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orca_server.doctor.findings import SECTIONS
from tests.e2e.test_up import Up, clean_environment, running
from tests.servers import free_port
from tests.serving import SECRET, ServerProcess, server_process

ORCA = Path(sys.executable).with_name("orca")
CHECKS = {
    *("settings", "access", "secrets", "rotation", "ports", "disk", "registry_file"),
    *("database", "rights", "extension", "migrations", "partitions", "clock"),
    *("connections", "transactions", "gateway", "server", "ingest", "tick", "freshness"),
    *("adapters", "trust", "agents", "violations", "drift", "logs", "limits", "memory"),
}


def doctor(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command in that folder, with no settings but these."""
    own = {
        "HOME": str(folder),
        "ORCA_DATA_DIR": str(folder / "data"),
        "ORCA_GRPC_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    return subprocess.run(
        [ORCA, "doctor", *arguments],
        env={**clean_environment(), **own, **settings},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def examined(folder: Path, **settings: str) -> tuple[int, dict[str, Any]]:
    """Exit code and document."""
    done = doctor(folder, "--output", "json", **settings)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def by_name(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    found = {each["name"]: each for each in document["checks"]}
    assert set(found) == CHECKS
    return found


def statuses(document: dict[str, Any], status: str) -> set[str]:
    return {name for name, each in by_name(document).items() if each["status"] == status}


def test_with_nothing_at_all_each_check_says_so(tmp_path: Path) -> None:
    code, document = examined(tmp_path)
    assert code == 1
    assert document["status"] == "fail"
    assert statuses(document, "fail") == {"settings", "gateway", "server"}
    assert statuses(document, "ok") == {"ports", "disk", "limits"}
    assert [each["title"] for each in document["sections"]] == list(SECTIONS)
    assert sum(document["counts"].values()) == len(CHECKS)
    for each in document["checks"]:
        assert bool(each["cause"]) == bool(each["mend"]) == (each["status"] in ("warn", "fail"))
        assert each["found"]
    assert not (tmp_path / "data").exists()  # it changes nothing


def test_people_read_causes_and_commands(tmp_path: Path) -> None:
    done = doctor(tmp_path, DATABASE_URL=f"postgresql://orca:guess_me@127.0.0.1:{free_port()}/x")
    assert done.returncode == 1
    assert "connection refused" in done.stdout
    assert "fail database: nothing listens there" in done.stdout
    assert "     start PostgreSQL where DATABASE_URL says, then: orca serve" in done.stdout
    assert "API Won't Start" in done.stdout
    assert "guess_me" not in done.stdout


def test_every_bad_setting_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / ".env").write_text(
        f"DATABASE_URL=postgresql://orca@127.0.0.1:{port}/x\nPGMAXCONNECTIONS=0\nJWT_SECRET=x\n"
        f"JWT_SECRET={SECRET}\nORCA_TICK_SECONDS=often\n"
    )
    code, document = examined(tmp_path)
    assert code == 1
    found = by_name(document)
    for name in ("PGMAXCONNECTIONS", "JWT_SECRET", "ORCA_TICK_SECONDS"):
        assert f"{name}: " in found["settings"]["found"]
    assert "connection refused" in found["database"]["found"]


@contextmanager
def mute() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(16)
        taken: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    taken.append(listening.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    for each in taken:
        each.close()


def test_what_never_answers_is_waited_for_only_so_long(tmp_path: Path) -> None:
    with mute() as port:
        code, document = examined(
            tmp_path,
            DATABASE_URL=f"postgresql://orca@127.0.0.1:{port}/x",
            JWT_SECRET=SECRET,
            ORCA_ADDRESS=f"127.0.0.1:{port}",
            ORCA_REST_PORT=str(port),
        )
    assert code == 1
    found = by_name(document)
    assert statuses(document, "fail") == {"database", "gateway", "server"}
    assert "no answer" in found["database"]["found"]
    assert "no answer within 5 s" in found["gateway"]["found"]


@pytest.fixture
def server(database_url: str) -> Iterator[ServerProcess]:
    with server_process(database_url, ORCA_ANONYMOUS_ROLE="none") as child:
        yield child


def test_a_closed_server_is_asked_with_the_key_of_the_settings(
    server: ServerProcess, database_url: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": database_url, "JWT_SECRET": SECRET}
    settings["ORCA_ADDRESS"] = server.start().grpc
    while examined(tmp_path, **settings)[0] != 0:
        time.sleep(0.1)
    _, document = examined(tmp_path, **settings)
    found = by_name(document)
    assert statuses(document, "fail") == set()
    assert found["access"]["found"].startswith("closed")
    assert found["server"]["status"] == "ok"
    assert found["tick"]["status"] == "ok"
    assert "MiB" in found["memory"]["found"]
    assert found["gateway"]["status"] == "warn"  # a bare server has none
    assert found["secrets"]["status"] == "warn"  # the tests' own

    other = {**settings, "JWT_SECRET": "4b7e1d90a3c85f26e17d4b90c2f8a635"}
    _, document = examined(tmp_path, **other)
    assert by_name(document)["server"]["status"] == "warn"
    assert "JWT_SECRET is not that of these settings" in by_name(document)["server"]["cause"]


def test_a_server_without_its_database_fails_both(server: ServerProcess, tmp_path: Path) -> None:
    nowhere = f"postgresql://orca@127.0.0.1:{free_port()}/x"
    settings = {"DATABASE_URL": nowhere, "JWT_SECRET": SECRET}
    server.environment = {**server.environment, "DATABASE_URL": nowhere}
    settings["ORCA_ADDRESS"] = server.start().grpc
    code, document = examined(tmp_path, **settings)
    assert code == 1
    assert statuses(document, "fail") == {"database", "server"}
    assert "database: " in by_name(document)["server"]["cause"]


@pytest.fixture
def up() -> Iterator[Up]:
    with running((sys.executable, "-m", "orca_server")) as found:
        yield found


def of_stack(up: Up, **settings: str) -> tuple[int, dict[str, Any]]:
    done = up.run("doctor", "--output", "json", **settings)
    return done.returncode, json.loads(done.stdout)


def test_the_stack_of_orca_up_in_health_after_a_fault_and_stopped(up: Up) -> None:
    up.start()
    # The partitions of the past come last, and the server looks at itself once a second.
    while {by_name(of_stack(up)[1])[name]["status"] for name in ("partitions", "server")} != {"ok"}:
        time.sleep(0.2)
    code, document = of_stack(up)
    assert (code, statuses(document, "warn"), statuses(document, "fail")) == (0, set(), set())
    found = by_name(document)
    assert "open to this machine alone" in found["access"]["found"]
    assert found["ports"]["found"].count("our") == 3

    registry = up.folder / "registry.yaml"
    registry.write_text('version: "1.0.0"\nservers:\n  one:\n    comand: x\n')
    (up.folder / ".env").write_text(
        f"MCP_REGISTRY_PATH={registry}\nHMAC_SECRET={SECRET}\nHMAC_SECRET={SECRET[::-1]}\n"
    )
    code, document = of_stack(up)
    assert code == 1
    found = by_name(document)
    assert statuses(document, "fail") == {"registry_file"}
    assert "line 4" in found["registry_file"]["found"]
    assert "servers.one.comand" in found["registry_file"]["found"]
    assert "HMAC_SECRET has 2 values" in found["rotation"]["found"]
    (up.folder / ".env").unlink()

    assert up.interrupt() == 0
    code, document = of_stack(up)
    assert code == 1
    assert statuses(document, "fail") == {"database", "gateway", "server"}
    assert {by_name(document)[name]["mend"] for name in ("database", "gateway")} == {"orca up"}
    assert by_name(document)["ports"]["status"] == "ok"


def test_a_port_of_the_stack_that_another_program_has_is_told(tmp_path: Path) -> None:
    with mute() as port:
        _, document = examined(tmp_path, ORCA_DB_PORT=str(port))
    found = by_name(document)["ports"]
    assert found["status"] == "warn"
    assert f"{port} has " in found["found"]
    assert f"(pid {os.getpid()})" in found["found"]
    assert "ORCA_DB_PORT=PORT orca up" in found["mend"]
