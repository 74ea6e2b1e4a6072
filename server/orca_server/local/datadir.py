"""The data folder: lock, secrets, logs, and what the running stack tells other commands."""

import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orca_server.local import account as accounts
from orca_server.local.errors import LocalError

DATABASE_PASSWORD = "database-password"  # noqa: S105  # the name of a file
JWT_SECRET = "jwt-secret"  # noqa: S105  # the name of a file
LARGEST_LOG_BYTES = 64 * 1024 * 1024
SYSTEM_FOLDER = Path("/var/lib/orca")
"""Where root keeps a database whose data folder no other user can enter."""


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A folder that holds all that `orca up` keeps."""

    path: Path

    @property
    def logs(self) -> Path:
        """Where the output of the programs goes."""
        return self.path / "logs"

    @property
    def gateway(self) -> Path:
        """Where the gateway's configuration is written."""
        return self.path / "gateway"

    @property
    def programs(self) -> Path:
        """Where links to psql and its companions stand, to be put on PATH."""
        return self.path / "bin"

    def create(self) -> None:
        """Makes the folder and its parts, if they are not there.

        Raises:
            LocalError: If that is not allowed.
        """
        # Root's PostgreSQL runs as another user, who must pass; secrets have rights of their own.
        passable = 0o711 if os.geteuid() == 0 else 0o700
        try:
            self.path.mkdir(mode=passable, parents=True, exist_ok=True)
            for private in (self.logs, self.gateway, self._secrets):
                private.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise LocalError(
                f"{error.filename} cannot be made ({error.strerror}): "
                f"set ORCA_DATA_DIR to a folder of yours."
            ) from error

    def rotate_logs(self) -> None:
        """Puts large logs aside, each in place of the one put aside before."""
        for log in self.logs.glob("*.log"):
            if log.stat().st_size > LARGEST_LOG_BYTES:
                log.rename(log.with_suffix(".log.1"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other `orca up` away from this folder.

        Raises:
            LocalError: If one is there.
        """
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise LocalError(
                    f"`orca up` runs on {self.path} already (pid {file.read().strip() or '?'}): "
                    f"stop it, or set ORCA_DATA_DIR to another folder."
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def secret(self, name: str) -> str:
        """The secret of that name, made at first use; only its owner can read it."""
        path = self._secrets / name
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(secrets.token_urlsafe(36))
        return path.read_text(encoding="ascii")

    def write_state(self, state: Mapping[str, object]) -> None:
        """Tells other commands, and the next start, what runs here."""
        unfinished = self.path / "state.json.new"
        unfinished.write_text(json.dumps(state, indent=1), encoding="utf-8")
        unfinished.rename(self.path / "state.json")

    def state(self) -> dict[str, int]:
        """What write_state was told last; empty before the first start."""
        try:
            found: dict[str, int] = json.loads((self.path / "state.json").read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found

    def database_folder(self) -> Path:
        """Where PostgreSQL's files are or shall be: inside, unless its user cannot get there.

        Then (root only) a folder for it is made elsewhere, and a link to that one stands inside:
        a new data folder never finds an old one's database.

        Raises:
            LocalError: If the linked folder is gone, or none can be made.
        """
        inside = self.path / "postgres"
        if inside.is_symlink() and not inside.exists():
            raise LocalError(
                f"{inside} points to {os.readlink(inside)}, which is gone: "
                f"bring it back, or remove the link to begin with an empty database."
            )
        if inside.exists() or os.geteuid() != 0:
            return inside.resolve()
        if accounts.can(accounts.unprivileged(), "-x", self.path):
            return inside
        elsewhere = SYSTEM_FOLDER / f"postgres-{secrets.token_hex(4)}"
        try:
            elsewhere.mkdir(mode=0o711, parents=True)
            SYSTEM_FOLDER.chmod(0o711)
        except OSError as error:
            raise LocalError(
                f"PostgreSQL's user cannot enter {self.path}, and {elsewhere} cannot be made "
                f"({error.strerror}): set ORCA_DB_DIR to a folder that it can enter."
            ) from error
        inside.symlink_to(elsewhere)
        return elsewhere

    @property
    def _secrets(self) -> Path:
        return self.path / "secrets"
