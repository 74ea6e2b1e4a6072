"""PostgreSQL with pgvector as a child of ours, from the wheel's binaries.

On 127.0.0.1 every connection needs the password (scram); the socket stands in a folder that only
the server's user and root can enter, and knows by peer who comes. Data survive any kill: fsync is
on unless a test says otherwise, and what a killed server leaves is cleared at the next start.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from orca_server.local import account as accounts
from orca_server.local import binaries as wheels
from orca_server.local import program as programs
from orca_server.local.errors import LocalError
from orca_server.local.program import Account, Program

DATABASE = "orcamesh"
USER = "orca"
SUPERUSER = "postgres"
"""Has no password: it comes by the socket only."""
START_SECONDS = 300.0
"""Recovery after a crash may take minutes; giving up earlier would look like data loss."""
RETRY_SECONDS = 0.3
SPOKEN_LINES = 1_000
"""Backends of a killed server may say as much after the line that tells why a start failed."""
TRANSIENT = (
    "pre-existing shared memory block",  # a killed server's backend is still at work
    'lock file "postmaster.pid" already exists',  # the one before is still stopping
    "could not create any TCP/IP sockets",  # likewise
)
"""A start that fails with one of these succeeds a moment later."""
LONGEST_SOCKET_PATH = 107
"""Bytes that the kernel allows."""

LAPTOP = {
    "max_connections": "40",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "jit": "off",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "timezone": "UTC",
}
"""Written at the first start into postgresql.conf, which is the user's to edit from then on."""

LOCALES = {
    18: ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
    16: ("--locale=C.UTF-8",),  # builtin came with 17
}


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """One server's folder, port and password."""

    folder: Path
    """Its own; as root it must be reachable for the user that PostgreSQL runs as."""
    log: Path
    port: int
    password: str
    """Of the role orca. Letters, digits, `-` and `_`: it stands in URLs."""
    version: int = 18
    """Major version for a new folder; an old one keeps its own."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Server settings that outrank postgresql.conf."""


class Postgres:
    """A server that is set up, and can be started, asked and stopped."""

    def __init__(self, settings: PostgresSettings) -> None:
        """Makes the folder ready: user, programs, first data, who may connect.

        Raises:
            LocalError: If that is impossible, with what to do.
        """
        self.settings = settings
        self.data = settings.folder / "data"
        self.account = _account(self.data)
        _reach(settings.folder, self.account)
        wheel = wheels.find(_version(self.data, settings.version))
        self.binaries = wheels.usable_by(self.account, wheel, settings.folder)
        self.socket_folder = socket_folder(settings.folder, self.account)
        if not self.data.is_dir():
            self._create()
        self._write_access()
        self.program = self._program()

    def url(self, database: str = DATABASE) -> str:
        """The URL of a database, as the role orca, over TCP."""
        return f"postgresql://{USER}:{self.settings.password}@127.0.0.1:{self.settings.port}/{database}"

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the server and returns once it accepts connections.

        Raises:
            LocalError: If it ends, or recovers for longer than START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            offset = programs.size(self.settings.log)
            self.clear_stale_pid()
            process = programs.spawn(self.program)
            while process.poll() is None and time.monotonic() < deadline:
                if self.ready(process.pid):
                    return process
                programs.pause()
            said = programs.tail(self.settings.log, offset, SPOKEN_LINES)
            if process.poll() is None or time.monotonic() > deadline or not transient(said):
                programs.stop(self.program, process)
                said = programs.tail(self.settings.log, offset)
                raise LocalError(
                    f"PostgreSQL does not start; {self.settings.log} ends with: {said}"
                )
            time.sleep(RETRY_SECONDS)

    def ready(self, pid: int) -> bool:
        """Whether the server with that process id accepts connections, by its own word."""
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def bootstrap(self) -> None:
        """Makes role, database and extension, or heals them (a new password, say).

        Raises:
            LocalError: If psql fails.
        """
        script = Path(__file__).with_name("bootstrap.sql")
        self.run_psql("--file", str(script), ORCA_DB_PASSWORD=self.settings.password)

    def run_psql(self, *arguments: str, database: str = "postgres", **environment: str) -> str:
        """What psql prints when it runs as the superuser, through the socket.

        Raises:
            LocalError: If psql fails.
        """
        command = [
            *(str(self.binaries.path("psql")), "--no-psqlrc", "--quiet", "--no-password"),
            *("--host", str(self.socket_folder), "--port", str(self.settings.port)),
            *("--username", SUPERUSER, "--dbname", database, "--set", "ON_ERROR_STOP=1"),
            *("--tuples-only", "--no-align", *arguments),
        ]
        clean = {**_environment(), **environment}
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalError(f"the database refuses: {done.stderr.strip()}")
        return done.stdout.strip()

    def clear_stale_pid(self) -> None:
        """Removes the pid file of a server that was killed, if its number is now another's.

        PostgreSQL itself clears it when no process has that number, and otherwise waits for ever.
        """
        lines = self._pid_file()
        try:
            pid = int(lines[0]) if lines else 0
            other = pid > 0 and "postgres" not in psutil.Process(pid).name()
        except (ValueError, psutil.Error):
            return
        if other:
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):  # absent, or being written
            return []

    def _program(self) -> Program:
        options = {
            "port": str(self.settings.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.socket_folder),
            "unix_socket_permissions": "0700",
            **self.settings.options,
        }
        pairs = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return Program(
            name="PostgreSQL",
            argv=(str(self.binaries.path("postgres")), "-D", str(self.data), *pairs),
            log=self.settings.log,
            environment=_environment(),
            folder=self.data,
            account=self._other_account(),
            stop_signal=signal.SIGINT,  # ends sessions and stops clean; TERM would wait for clients
            stop_seconds=60.0,
        )

    def _create(self) -> None:
        """Runs initdb beside the final name, so that a kill in between leaves nothing half done."""
        unfinished = self.data.with_name("data.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        _own(unfinished, self.account)
        tuned = [word for name, value in LAPTOP.items() for word in ("-c", f"{name}={value}")]
        initdb = Program(
            name="initdb",
            argv=(
                *(str(self.binaries.path("initdb")), "-D", str(unfinished), "-U", SUPERUSER),
                *("--encoding=UTF8", *LOCALES[self.binaries.version], "--data-checksums"),
                *("--auth-local=peer", "--auth-host=scram-sha-256", *tuned),
            ),
            log=self.settings.log,
            environment=_environment(),
            account=self._other_account(),
        )
        if programs.spawn(initdb).wait() != 0:
            said = programs.tail(self.settings.log)
            raise LocalError(f"the database cannot be made in {self.data}: {said}")
        unfinished.rename(self.data)

    def _write_access(self) -> None:
        """Says who may connect; anew at each start, since the user may be another one."""
        names = sorted({self.account.name, accounts.current().name})
        users = [f'orca "{name}" {role}' for name in names for role in (SUPERUSER, USER)]
        hosts = (
            "local all all peer map=orca",
            "local replication all peer map=orca",
            "host all all 127.0.0.1/32 scram-sha-256",
        )
        for name, lines in (("pg_ident.conf", users), ("pg_hba.conf", hosts)):
            text = "# Written by orca at each start.\n" + "".join(f"{line}\n" for line in lines)
            (self.data / name).write_text(text, encoding="utf-8")

    def _other_account(self) -> Account | None:
        return self.account if self.account.uid != os.geteuid() else None


def transient(said: str) -> bool:
    """Whether a server that ended with these words should simply be started again."""
    return any(text in said for text in TRANSIENT)


def _account(data: Path) -> Account:
    if os.geteuid() != 0:
        return accounts.current()
    return accounts.unprivileged(data.stat().st_uid if data.exists() else None)


def _version(data: Path, wanted: int) -> int:
    file = data / "PG_VERSION"
    return int(file.read_text(encoding="utf-8")) if file.exists() else wanted


def _reach(folder: Path, account: Account) -> None:
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    if not accounts.can(account, "-x", folder):
        raise LocalError(
            f"PostgreSQL runs as user {account.name}, who cannot enter {folder}: "
            f"set ORCA_DB_DIR to a folder that it can, or `chmod o+x` those above."
        )


def socket_folder(folder: Path, account: Account) -> Path:
    """A private folder with a path short enough: beside the data, else among temporary files."""
    beside = folder / "run"
    if len(os.fsencode(beside / ".s.PGSQL.65535.lock")) < LONGEST_SOCKET_PATH:
        _own(beside, account)
        return beside
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"orca-{digest}"
    _own(short, account)
    return short


def _own(folder: Path, account: Account) -> None:
    """Makes a folder that the account alone may enter, or takes the one it has."""
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid == os.geteuid() != account.uid:
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
    elif found.st_uid != account.uid or folder.is_symlink():
        raise LocalError(f"{folder} belongs to another user: remove it, or set ORCA_DB_DIR.")
    folder.chmod(0o700)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
