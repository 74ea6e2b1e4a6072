"""What tests of the doctor have in common."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orca_server.doctor.database import DatabaseView
from orca_server.doctor.situation import Situation
from orca_server.runtime.partitions import wanted_days
from orca_server.settings import Settings
from orca_server.store.doctor import ForeignTables, OpenFindings, ServerFacts
from orca_server.store.migrate import MigrationStatus

NOW = datetime(2026, 3, 4, 10, 30, tzinfo=UTC)
STRONG = "3f9c1b7a5e2d8046b1c7f3a9e5d20864"
FACTS = ServerFacts(
    version=180004,
    version_text="18.4",
    clock=NOW,
    role="orca",
    database="orcamesh",
    schema="public",
    may_create=True,
    is_read_only=False,
    vector_version="0.8.5",
    vector_available="0.8.5",
    may_create_vector=False,
    most_connections=97,
    connections=9,
)
VIEW = DatabaseView(
    url="postgresql://orca:hidden@db.example:5433/orcamesh",
    server=FACTS,
    foreign=ForeignTables((), "", 0),
    migrations=MigrationStatus(("0001_agents",), (), 1, 1),
    days=set(wanted_days(NOW, 90)),
    open=OpenFindings(0, 0),
    backlog=0,
)


def situation(url: str = VIEW.url, **changes: Any) -> Situation:
    """One whose settings are those, with a strong secret and nothing else."""
    chosen: dict[str, Any] = {"database_url": url, "jwt_secrets": (STRONG,), **changes}
    return Situation(settings=Settings(**chosen))


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder without .env, and an environment without any setting."""
    for name in ("DATABASE_URL", "JWT_SECRET", "HMAC_SECRET", "ORCA_ADDRESS", "ORCA_ENV_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ORCA_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path
