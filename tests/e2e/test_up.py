"""`orca up` as a person meets it: a child process, a folder, signals."""

import http.client
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.servers import free_port, reachable_folder

ROOT = Path(__file__).parents[2]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


def clean_environment() -> dict[str, str]:
    """Ours without any setting of the product, and with ports that are free."""
    ours = ("ORCA_", "JWT_", "HMAC_", "DATABASE_", "MCP_", "OTEL_", "PG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    ports = ("ORCA_REST_PORT", "ORCA_GRPC_PORT", "ORCA_DB_PORT")
    return {**kept, **{name: str(free_port()) for name in ports}}


class Up:
    """One `orca up` at a time on one data folder."""

    def __init__(self, folder: Path, command: tuple[str, ...], user: int | None = None) -> None:
        self.folder = folder
        self.command = command
        self.user = user
        own = {"ORCA_DATA_DIR": str(folder / "data"), "HOME": str(folder)}
        self.environment = {**clean_environment(), **own}
        self.process: psutil.Popen | None = None

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Another command of orca's, to its end."""
        return subprocess.run(
            [*self.command, *arguments],
            env={**self.environment, **settings},
            cwd=self.folder,
            user=self.user,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self) -> None:
        """Starts it, and returns when it says that it is up."""
        self.output.unlink(missing_ok=True)
        with self.output.open("w") as output:
            self.process = psutil.Popen(
                [*self.command, "up"],
                env=self.environment,
                cwd=self.folder,
                user=self.user,
                stdout=output,
                stderr=output,
            )
        self.wait_for("Ctrl-C stops it")

    @property
    def output(self) -> Path:
        """What it said."""
        return self.folder / "output"

    def wait_for(self, text: str) -> None:
        """Waits until it says that; fails if it ends before."""
        while text not in self.output.read_text():
            assert self.process is not None
            assert self.process.poll() is None, self.output.read_text()
            time.sleep(0.05)

    def children(self) -> dict[str, psutil.Process]:
        """The programs that it runs, by name."""
        state = json.loads((self.folder / "data" / "state.json").read_text())
        return {
            key.removeprefix("pid "): psutil.Process(pid)
            for key, pid in state.items()
            if key.startswith("pid ")
        }

    def interrupt(self) -> int:
        """Ctrl-C, and the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        status: int = self.process.wait()
        return status

    def health(self) -> int:
        """The status of GET /health."""
        return self._request("GET", "/health", {})[0]

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        """The body of an answer over REST."""
        return self._request(method, path, headers)[1]

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
        port = int(self.environment["ORCA_REST_PORT"])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        with closing(connection):
            connection.request(method, path, headers=dict(headers))
            reply = connection.getresponse()
            return reply.status, reply.read()

    def wait_until_healthy(self) -> None:
        """Waits for 200; the test's limit ends it."""
        while self.health() != 200:
            time.sleep(0.05)

    def end(self) -> None:
        """Leaves nothing behind, whatever the test did."""
        if self.process is not None and self.process.poll() is None:
            family = [*self.process.children(recursive=True), self.process]
            self.process.terminate()
            _, alive = psutil.wait_procs([self.process], timeout=30)
            for each in family if alive else ():
                if each.is_running():
                    each.kill()
            self.process.wait()


@contextmanager
def running(command: tuple[str, ...], user: int | None = None) -> Iterator[Up]:
    with reachable_folder() as folder:
        if user is not None:
            os.chown(folder, user, -1)
        up = Up(folder, command, user)
        try:
            yield up
        finally:
            up.end()


@pytest.fixture
def up() -> Iterator[Up]:
    with running((sys.executable, "-m", "orca_server")) as found:
        yield found


def test_it_runs_heals_stops_clean_and_keeps_its_data(up: Up) -> None:
    up.start()
    assert up.health() == 200
    assert "open to this machine alone" in up.output.read_text()
    made = up.run("psql", "-Atqc", "CREATE TABLE kept AS SELECT 42 AS value")
    assert made.returncode == 0, made.stderr

    for name in ("server", "PostgreSQL", "gateway"):
        up.children()[name].kill()
        up.wait_for(f"{name} was killed by SIGKILL; it is started again in 0.5 s")
        up.wait_for(f"{name} is back")
        up.wait_until_healthy()

    children = list(up.children().values())
    assert len(children) == 3
    assert up.interrupt() == 0
    assert up.output.read_text().endswith("Stopped.\n")
    assert not [each for each in children if each.is_running()]
    assert "database system is shut down" in (up.folder / "data/logs/postgres.log").read_text()

    up.start()
    assert "Making a database" not in up.output.read_text()
    assert up.run("psql", "-Atqc", "SELECT value FROM kept").stdout == "42\n"


def test_env_makes_the_guides_lines_work_and_tells_no_signing_key(up: Up) -> None:
    up.start()
    printed = up.run("env").stdout
    secret = (up.folder / "data" / "secrets" / "jwt-secret").read_text()
    assert secret not in printed
    script = f'{printed}\npsql "$DATABASE_URL" -Atc "SELECT 6 * 7" && pg_dump "$DATABASE_URL"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("42\n")
    assert "PostgreSQL database dump complete" in done.stdout
    assert up.run("pg_dump", "--schema-only").returncode == 0


def test_a_token_made_beside_it_is_one_that_it_takes(up: Up) -> None:
    up.start()
    token = up.run("tokens", "create", "--role", "viewer", "--ttl", "1h")
    assert token.returncode == 0, token.stderr
    word = token.stdout.split()[-1]
    reply = up.ask("POST", "/agents/none:suspend", {"authorization": f"Bearer {word}"})
    assert json.loads(reply)["code"] == 7  # known, and too little: PERMISSION_DENIED
    assert up.run("db", "status").returncode == 0


def test_a_second_one_on_the_same_folder_is_refused(up: Up) -> None:
    up.start()
    assert up.process is not None
    refused = up.run("up")
    assert refused.returncode == 1
    assert f"already (pid {up.process.pid})" in refused.stderr
    assert "ORCA_DATA_DIR" in refused.stderr


def test_busy_ports_are_named_with_their_holder_and_setting(up: Up) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = str(busy.getsockname()[1])
        refused = up.run("up", ORCA_REST_PORT=port, ORCA_DB_PORT=port)
    assert refused.returncode == 1
    me = f"{psutil.Process().name()} (pid {os.getpid()})"
    for setting in ("ORCA_REST_PORT", "ORCA_DB_PORT"):
        assert f"port {port} is in use by {me}: stop that, or set {setting}" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_bad_settings_are_named_at_once_and_before_anything_is_made(up: Up) -> None:
    bad = {
        "ORCA_REST_PORT": "x",
        "ORCA_GRPC_PORT": "70000",
        "ORCA_ALLOWED_HOSTS": "a b",
        "TRUST_SCORE_BASELINE": "5",
        "ORCA_ANONYMOUS_ROLE": "root",
        "JWT_SECRET": "short",
    }
    refused = up.run("up", **bad)
    assert refused.returncode == 1
    named = [line.split(": ")[:2] for line in refused.stderr.splitlines()]
    assert sorted(named) == sorted(["orca", name] for name in bad)
    assert "TRUST_SCORE_BASELINE: must lie within 0 and 1" in refused.stderr
    assert not (up.folder / "data").exists()


def test_a_server_that_cannot_start_is_told_with_its_words(up: Up) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        refused = up.run("up", ORCA_METRICS_ADDRESS=f"127.0.0.1:{busy.getsockname()[1]}")
    assert refused.returncode == 1
    assert "server ended" in refused.stderr
    assert "ORCA_METRICS_ADDRESS" in refused.stderr
    assert "orca: orca:" not in refused.stderr
    state = json.loads((up.folder / "data" / "state.json").read_text())
    assert not [pid for key, pid in state.items() if key[:4] == "pid " and psutil.pid_exists(pid)]


def test_commands_before_the_first_start_say_what_to_do(up: Up) -> None:
    refused = up.run("env")
    assert refused.returncode == 1
    assert "run `orca up`" in refused.stderr


def test_a_second_signal_kills_what_does_not_end(up: Up) -> None:
    up.start()
    assert up.process is not None
    children = list(up.children().values())
    up.children()["server"].suspend()
    up.process.send_signal(signal.SIGINT)
    up.wait_for("Stopping")
    assert up.interrupt() == 130
    assert not [each for each in children if each.is_running()]


def test_after_its_own_kill_9_its_programs_end_and_the_next_start_works(up: Up) -> None:
    up.start()
    assert up.process is not None
    children = list(up.children().values())
    up.process.kill()
    up.process.wait()
    up.start()
    assert not [each for each in children if each.is_running()]
    assert up.health() == 200


def _linked(source: Path, target: Path, *left_out: str) -> Path:
    """A copy of a folder for a user who cannot reach it; hard links where that is possible."""

    def link(original: str, copy: str) -> None:
        try:
            os.link(original, copy)
        except OSError:
            shutil.copy2(original, copy)

    ignore = shutil.ignore_patterns(*left_out)
    shutil.copytree(source, target, symlinks=True, copy_function=link, ignore=ignore)
    return target


def _command_for_anybody(folder: Path) -> tuple[str, ...]:
    """`orca` from a Python that every user can run, with the code of this checkout.

    The interpreter and the environment may stand below a closed home. What runs is the same code
    and the same wheels, in a place that the user can enter.
    """
    base = _linked(Path(sys.base_prefix), folder / "python", "site-packages", "test", "share")
    site = _linked(Path(psutil.__file__).parents[1], folder / "site")
    code = folder / "checkout"
    for package in ("clients/python", "server", "gateway", "sql", "registry"):
        _linked(ROOT / package, code / package)
    path = ":".join(map(str, (code / "server", code / "clients" / "python", site)))
    python = base / "bin" / Path(sys.executable).resolve().name
    variables = (f"PYTHONPATH={path}", f"LD_LIBRARY_PATH={base / 'lib'}")
    return ("env", *variables, str(python), "-m", "orca_server")


@NEEDS_ROOT
def test_an_ordinary_user_can_run_it() -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    with reachable_folder() as tools, running(_command_for_anybody(tools), nobody) as up:
        up.start()
        assert up.health() == 200
        family = [up.process, *up.children().values()]
        assert {each.uids().effective for each in family if each} == {nobody}
        assert up.run("psql", "-Atqc", "SELECT 1").stdout == "1\n"
        up.children()["server"].kill()
        up.wait_for("server is back")
        up.wait_until_healthy()
        assert up.interrupt() == 0


@NEEDS_ROOT
def test_root_can_keep_its_data_in_a_closed_folder_with_the_database_elsewhere(up: Up) -> None:
    closed = up.folder / "closed"
    closed.mkdir(mode=0o700)
    up.environment["ORCA_DATA_DIR"] = str(closed / "data")
    up.environment["ORCA_DB_DIR"] = str(up.folder / "database")
    up.start()
    assert up.health() == 200
    assert up.interrupt() == 0
