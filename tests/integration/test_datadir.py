"""The data folder: who may read it, and where the database goes when root's is closed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from orca_server.local import datadir
from orca_server.local.datadir import DATABASE_PASSWORD, DataFolder
from orca_server.local.errors import LocalError
from tests.servers import DURABLE, PostgresServer, reachable_folder

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


@pytest.fixture
def closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataFolder:
    """A data folder below one that only we can enter."""
    monkeypatch.setattr(datadir, "SYSTEM_FOLDER", folder / "system")
    (folder / "home").mkdir(mode=0o700)
    data = DataFolder(folder / "home" / "data")
    data.create()
    return data


def test_secrets_are_made_once_and_private(folder: Path) -> None:
    data = DataFolder(folder / "data")
    data.create()
    secret = data.secret(DATABASE_PASSWORD)
    assert len(secret) >= 32
    assert data.secret(DATABASE_PASSWORD) == secret
    path = folder / "data" / "secrets" / DATABASE_PASSWORD
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_only_one_may_hold_the_lock(folder: Path) -> None:
    data = DataFolder(folder)
    refused = pytest.raises(LocalError, match=rf"already \(pid {os.getpid()}\).*ORCA_DATA_DIR")
    with data.locked(), refused, data.locked():
        pass
    with data.locked():
        pass


@NEEDS_ROOT
def test_an_open_folder_holds_its_database(folder: Path) -> None:
    data = DataFolder(folder / "data")
    data.create()
    assert data.database_folder() == folder / "data" / "postgres"


@NEEDS_ROOT
def test_a_closed_folder_links_to_a_database_that_works_elsewhere(
    folder: Path, closed: DataFolder
) -> None:
    elsewhere = closed.database_folder()
    assert elsewhere.parent == folder / "system"
    assert closed.database_folder() == elsewhere  # the same at the next start
    os.symlink(elsewhere, folder / "postgres")
    server = PostgresServer(folder, DURABLE)
    try:
        server.start()
        assert server.sql("SELECT 1") == "1"
    finally:
        server.stop()


@NEEDS_ROOT
def test_a_database_that_is_gone_is_not_replaced_by_an_empty_one(closed: DataFolder) -> None:
    closed.database_folder().rmdir()
    with pytest.raises(LocalError, match="gone: bring it back"):
        closed.database_folder()


def test_large_logs_are_put_aside(folder: Path) -> None:
    data = DataFolder(folder / "data")
    data.create()
    large, small = data.logs / "server.log", data.logs / "gateway.log"
    small.write_text("kept")
    with large.open("wb") as file:
        file.truncate(datadir.LARGEST_LOG_BYTES + 1)
    data.rotate_logs()
    assert small.read_text() == "kept"
    assert [each.name for each in sorted(data.logs.iterdir())] == ["gateway.log", "server.log.1"]


def test_a_folder_that_cannot_be_made_is_told_with_the_setting(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(LocalError, match="ORCA_DATA_DIR"):
        DataFolder(folder / "file" / "data").create()
