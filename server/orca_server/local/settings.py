"""Settings of the laptop stack: environment variables over the `.env` file, all faults at once."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values

import orca_server
from orca_server import settings as server
from orca_server.local.envoy import allowed_hosts
from orca_server.local.errors import LocalError

PORTS = {"ORCA_REST_PORT": 3000, "ORCA_GRPC_PORT": 50051, "ORCA_DB_PORT": 54329}


@dataclass(frozen=True, slots=True)
class StackSettings:
    """Where the stack keeps its data, and where it listens."""

    data_folder: Path
    """ORCA_DATA_DIR: everything that `orca up` keeps."""
    database_folder: Path | None
    """ORCA_DB_DIR: PostgreSQL's files; None: inside the data folder."""
    rest_port: int
    grpc_port: int
    database_port: int
    allowed_hosts: tuple[str, ...]
    """ORCA_ALLOWED_HOSTS: names besides those of this machine."""
    given: Mapping[str, str]
    """All settings as the server will see them: environment over file."""

    @property
    def ports(self) -> dict[str, int]:
        """Each setting of a port, and the port."""
        return dict(zip(PORTS, (self.rest_port, self.grpc_port, self.database_port), strict=True))


def load(*, for_server: bool = False) -> StackSettings:
    """The settings of this process.

    Args:
        for_server: Whether to look at all that the server will read, too.

    Raises:
        LocalError: Names every one that cannot be used.
    """
    given = {**_file(), **os.environ}
    faults: list[str] = []
    ports = {name: _port(name, given.get(name) or str(PORTS[name]), faults) for name in PORTS}
    hosts: tuple[str, ...] = ()
    try:
        hosts = allowed_hosts(given.get("ORCA_ALLOWED_HOSTS", ""))
    except LocalError as error:
        faults.append(str(error))
    if for_server:
        faults += _server_faults(given)
    if faults:
        raise LocalError("\n".join(faults))
    database_folder = given.get("ORCA_DB_DIR")
    return StackSettings(
        data_folder=Path(given.get("ORCA_DATA_DIR") or default_folder()).expanduser().absolute(),
        database_folder=Path(database_folder).expanduser().absolute() if database_folder else None,
        rest_port=ports["ORCA_REST_PORT"],
        grpc_port=ports["ORCA_GRPC_PORT"],
        database_port=ports["ORCA_DB_PORT"],
        allowed_hosts=hosts,
        given=given,
    )


def checkout() -> Path | None:
    """The repository that this package runs from; None when it is installed."""
    root = Path(orca_server.__file__).parents[2]
    return root if (root / "gateway" / "envoy.yaml").is_file() else None


def default_registry() -> Path | None:
    """The registry file of the server of `orca up` that is told no other; None if there is none."""
    path = (checkout() or Path.cwd()) / "registry" / "mcp_registry.schema.yaml"
    return path if path.is_file() else None


def default_folder() -> Path:
    """`.orca` in the checkout, wherever one stands; else where this user's data belong."""
    root = checkout()
    if root is not None:
        return root / ".orca"
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "orca"


def _file() -> dict[str, str]:
    """What the `.env` file says, which the server reads too."""
    path = Path(os.environ.get("ORCA_ENV_FILE") or ".env")
    try:
        values = dotenv_values(path, interpolate=False) if path.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"{path} cannot be read: {error}") from error
    return {name: value for name, value in values.items() if value is not None}


def _server_faults(given: Mapping[str, str]) -> list[str]:
    """What the server would refuse; what the stack sets itself is as good as set."""
    own = {"DATABASE_URL": "postgresql://"}
    if "JWT_SECRET" not in given:
        own["JWT_SECRET"] = "x" * server.SHORTEST_SECRET
    try:
        server.load(**own)
    except server.BadSettings as error:
        return str(error).splitlines()
    return []


def _port(name: str, text: str, faults: list[str]) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        faults.append(f"{name}: {text!r} is no port; it needs a number from 1 to 65535.")
        return 0
    return int(text)
