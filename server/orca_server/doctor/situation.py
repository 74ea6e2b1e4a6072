"""What there is to look at: settings, the folder of `orca up`, and where database and server are.

Nothing here is called over a network, and nothing that is missing or wrong ends the look.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orca.address import ADDRESS_VARIABLE, Address, parse_address
from orca.errors import ConfigurationError
from orca_server import settings as server_settings
from orca_server.local import connection
from orca_server.local import settings as local_settings
from orca_server.local.datadir import DataFolder
from orca_server.local.errors import LocalError
from orca_server.local.ports import ADDRESS
from orca_server.local.settings import PORTS
from orca_server.settings import BadSettings, Settings

UNKNOWN_URL = "postgresql://"
"""Stands in for a DATABASE_URL that is missing or wrong."""
_TRIES = 3
"""A setting may be refused because of another one: so often the refused ones are left out."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What there is to look at.

    Attributes:
        faults: Settings that cannot be used, one `NAME: why` each.
        settings: The others, with defaults in place of those; None if not even that is possible.
        given: All settings as text, environment over file.
        data: The folder of `orca up`; None if its settings cannot be used.
        state: What the stack that runs there or ran there told; empty if there never was one.
        stack_url: The stack's database; empty if there never was one.
        ports: The stack's ports by the setting that chooses each.
        rest: Host and port where REST is expected; None if the server is only known encrypted.
        addresses: Where gRPC is expected, the likeliest first.
    """

    faults: tuple[str, ...] = ()
    settings: Settings | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    data: DataFolder | None = None
    state: Mapping[str, int] = field(default_factory=dict)
    stack_url: str = ""
    ports: Mapping[str, int] = field(default_factory=lambda: dict(PORTS))
    rest: tuple[str, int] | None = (ADDRESS, PORTS["ORCA_REST_PORT"])
    addresses: tuple[Address, ...] = ()

    @property
    def database_url(self) -> str:
        """Where the database is; empty if that is not known."""
        if self.settings is None:
            return ""
        url = self.settings.database_url.get_secret_value()
        return "" if url == UNKNOWN_URL else url

    @property
    def is_stack(self) -> bool:
        """Whether the database is that of `orca up`."""
        return bool(self.stack_url) and self.stack_url == self.database_url

    @property
    def registry(self) -> Path | None:
        """The registry file that the server reads, or that of `orca up`; None if there is none."""
        chosen = self.settings.mcp_registry_path if self.settings else None
        default = local_settings.default_registry() if self.is_stack else None
        return chosen or default


def look() -> Situation:
    """The situation of this process."""
    seen, stack = _look_at_stack(Situation())
    found, faults = _usable(stack)
    seen = replace(seen, settings=found, faults=(*seen.faults, *faults))
    return _with_addresses(seen)


def _look_at_stack(seen: Situation) -> tuple[Situation, dict[str, str]]:
    """With what `orca up` keeps, and the settings that its server was given."""
    try:
        loaded = local_settings.load()
        data = DataFolder(loaded.data_folder)
        state = data.state()
        seen = replace(seen, given=loaded.given, data=data, state=state)
        seen = replace(seen, ports=_ports(loaded.ports, state))
        if state:
            seen = replace(seen, stack_url=connection.find().url)
        return seen, connection.missing_settings()
    except LocalError as error:
        return replace(seen, faults=tuple(str(error).splitlines())), {}
    except OSError as error:
        fault = f"ORCA_DATA_DIR: {error.filename} cannot be read: {error.strerror}"
        return replace(seen, faults=(fault,)), {}


def _ports(chosen: Mapping[str, int], state: Mapping[str, int]) -> dict[str, int]:
    """Where a running stack listens, else where one would."""
    names = dict(zip(PORTS, ("rest_port", "grpc_port", "database_port"), strict=True))
    return {setting: state.get(names[setting], port) for setting, port in chosen.items()}


def _usable(stack: Mapping[str, str]) -> tuple[Settings | None, list[str]]:
    """The settings, with defaults for those that cannot be used, and why those cannot."""
    aliases = {str(field.validation_alias): field for field in Settings.model_fields.values()}
    given: dict[str, Any] = dict(stack)
    faults: list[str] = []
    for _ in range(_TRIES):
        try:
            return server_settings.load(**given), faults
        except BadSettings as error:
            told = [line for line in str(error).splitlines() if line not in faults]
        faults += told
        names = {line.partition(":")[0] for line in told}
        given |= {name: aliases[name].default for name in names & aliases.keys()}
        if "DATABASE_URL" in names:
            given["DATABASE_URL"] = UNKNOWN_URL
        if "JWT_SECRET" in names:
            given["JWT_SECRET"] = "-" * server_settings.SHORTEST_SECRET
    return None, faults


def _with_addresses(seen: Situation) -> Situation:
    """With where REST and gRPC are expected: ORCA_ADDRESS, else the stack, else a bare server."""
    rest_port, stack = seen.ports["ORCA_REST_PORT"], f"{ADDRESS}:{seen.ports['ORCA_GRPC_PORT']}"
    named = os.environ.get(ADDRESS_VARIABLE, "")
    if named and named != stack:
        try:
            address = parse_address(named)
        except ConfigurationError as error:
            fault = f"{ADDRESS_VARIABLE}: {error.message}"
            return replace(seen, faults=(*seen.faults, fault))
        rest = None if address.tls else (address.host or ADDRESS, rest_port)
        return replace(seen, addresses=(address,), rest=rest)
    bare = seen.settings.grpc_address if seen.settings and not (named or seen.state) else ""
    addresses = tuple(parse_address(each) for each in (stack, bare) if each)
    return replace(seen, addresses=addresses, rest=(ADDRESS, rest_port))
