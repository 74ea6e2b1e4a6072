"""How other commands reach the stack that `orca up` runs or ran."""

from dataclasses import dataclass
from pathlib import Path

from orca_server.local import settings
from orca_server.local.datadir import DATABASE_PASSWORD, JWT_SECRET, DataFolder
from orca_server.local.errors import LocalError
from orca_server.local.ports import ADDRESS
from orca_server.local.postgres import DATABASE, USER


@dataclass(frozen=True, slots=True)
class LocalConnection:
    """Addresses and the password of the local database."""

    programs: Path
    """A folder with psql, pg_dump and pg_restore."""
    database_port: int
    password: str
    grpc_address: str

    @property
    def url(self) -> str:
        """The database as a URL."""
        return f"postgresql://{USER}:{self.password}@{ADDRESS}:{self.database_port}/{DATABASE}"

    @property
    def variables(self) -> dict[str, str]:
        """The same as libpq's variables."""
        return {
            "PGHOST": ADDRESS,
            "PGPORT": str(self.database_port),
            "PGUSER": USER,
            "PGPASSWORD": self.password,
            "PGDATABASE": DATABASE,
        }


def find() -> LocalConnection:
    """The stack of the data folder that the settings name.

    Raises:
        LocalError: If it was never started.
    """
    data = DataFolder(settings.load().data_folder)
    state = data.state()
    if not state:
        raise LocalError(
            f"nothing was started in {data.path} yet: run `orca up`, or set ORCA_DATA_DIR."
        )
    return LocalConnection(
        programs=data.programs,
        database_port=state["database_port"],
        password=data.secret(DATABASE_PASSWORD),
        grpc_address=f"{ADDRESS}:{state['grpc_port']}",
    )


def missing_settings() -> dict[str, str]:
    """What the server of `orca up` was given and this process was not.

    Nothing if there is no such stack, or if the settings name another database.

    Raises:
        LocalError: If the settings of the stack cannot be used.
    """
    loaded = settings.load()
    if not DataFolder(loaded.data_folder).state():
        return {}
    found = find()
    if loaded.given.get("DATABASE_URL", found.url) != found.url:
        return {}
    stack = {
        "DATABASE_URL": found.url,
        "JWT_SECRET": DataFolder(loaded.data_folder).secret(JWT_SECRET),
        "ORCA_ANONYMOUS_ROLE": "operator",
    }
    return {name: value for name, value in stack.items() if name not in loaded.given}
