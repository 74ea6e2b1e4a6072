"""The embedded PostgreSQL: who gets in, what survives, how it starts again."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from orca_server.local import account as accounts
from orca_server.local.binaries import LIBRARIES, Binaries, find, usable_by
from orca_server.local.errors import LocalError
from orca_server.local.postgres import Postgres, PostgresSettings
from tests.servers import DURABLE, PostgresServer, free_port, reachable_folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as path:
        yield path


async def test_the_role_is_no_superuser_yet_has_vectors(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.url())
    try:
        assert await connection.fetchval("SHOW is_superuser") == "off"
        distance = await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,4]'::vector")
        await connection.execute("COMMENT ON EXTENSION vector IS 'as a restore does'")
        codepoints = await connection.fetchval("SELECT 'Z' < 'a' AND lower('É') = 'é'")
    finally:
        await connection.close()
    assert distance == 2.0
    assert codepoints


async def test_tcp_asks_for_the_password(postgres: PostgresServer) -> None:
    port = postgres.postgres.settings.port
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://orca:wrong@127.0.0.1:{port}/orcamesh")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://postgres:x@127.0.0.1:{port}/postgres")


def test_it_listens_on_loopback_alone_and_its_folders_are_private(postgres: PostgresServer) -> None:
    assert postgres.sql("SHOW listen_addresses") == "127.0.0.1"
    for private in (postgres.postgres.data, postgres.postgres.socket_folder):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_it_never_runs_as_root(postgres: PostgresServer) -> None:
    assert postgres.process is not None
    uids = psutil.Process(postgres.process.pid).uids()
    assert uids.real == uids.effective == postgres.postgres.account.uid != 0


def test_a_copied_database_is_gone_after_its_test(postgres: PostgresServer) -> None:
    with postgres.database() as url:
        name = url.rsplit("/", 1)[1]
        assert postgres.sql("SELECT current_database()", name) == name
    count = f"SELECT count(*) FROM pg_database WHERE datname = '{name}'"
    assert postgres.sql(count) == "0"


def test_committed_rows_survive_kill_9_with_a_busy_backend(
    durable_postgres: PostgresServer,
) -> None:
    durable_postgres.sql("CREATE TABLE kept AS SELECT 42 AS value", "orcamesh")
    socket_folder = durable_postgres.postgres.socket_folder
    psql = durable_postgres.postgres.binaries.path("psql")
    busy = subprocess.Popen(
        [
            psql,
            durable_postgres.url(),
            "-c",
            "SELECT sum(i) FROM generate_series(1, 30000000) AS i",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT sum%'"
    while durable_postgres.sql(active) == "0":
        time.sleep(0.01)
    durable_postgres.kill()
    assert (durable_postgres.postgres.data / "postmaster.pid").exists()
    assert any(socket_folder.iterdir())
    durable_postgres.start()
    busy.wait()
    assert durable_postgres.sql("SELECT value FROM kept", "orcamesh") == "42"


def test_a_stale_pid_file_whose_number_another_process_has_is_cleared(
    durable_postgres: PostgresServer,
) -> None:
    durable_postgres.kill()
    file = durable_postgres.postgres.data / "postmaster.pid"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))
    durable_postgres.start()
    assert durable_postgres.sql("SELECT 1") == "1"


def test_a_pid_file_of_a_running_server_is_kept(postgres: PostgresServer) -> None:
    postgres.postgres.clear_stale_pid()
    assert (postgres.postgres.data / "postmaster.pid").exists()


def test_it_ends_clean_when_its_parent_is_killed(folder: Path) -> None:
    starter = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.servers import PostgresServer\n"
        "server = PostgresServer(Path(sys.argv[1]), {})\n"
        "server.start()\n"
        "print(server.process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, str(folder)], stdout=subprocess.PIPE, cwd=root
    )
    assert parent.stdout is not None
    with parent.stdout:
        postmaster = psutil.Process(int(parent.stdout.readline()))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    psutil.wait_procs([postmaster], timeout=30)
    assert not postmaster.is_running()
    assert "database system is shut down" in (folder / "postgres.log").read_text()


async def test_a_lost_password_is_healed_at_the_next_start(folder: Path) -> None:
    first = PostgresServer(folder, DURABLE)
    first.start()
    first.sql("CREATE TABLE kept AS SELECT 1 AS value", "orcamesh")
    first.sql("GRANT SELECT ON kept TO orca", "orcamesh")
    first.stop()
    second = PostgresServer(folder, DURABLE, password="another")
    second.start()
    try:
        connection = await asyncpg.connect(second.url())
        assert await connection.fetchval("SELECT value FROM kept") == 1
        await connection.close()
    finally:
        second.stop()


def test_a_half_made_data_folder_is_made_anew(folder: Path) -> None:
    (folder / "postgres" / "data.new" / "base").mkdir(parents=True)
    (folder / "postgres").chmod(0o711)
    server = PostgresServer(folder, DURABLE)
    try:
        server.start()
        assert server.sql("SELECT 1") == "1"
    finally:
        server.stop()


def test_a_path_too_long_for_a_socket_gets_a_short_one(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    deep.mkdir(mode=0o711, parents=True)
    server = PostgresServer(deep, DURABLE)
    try:
        server.start()
        assert server.sql("SELECT 1") == "1"
        assert len(str(server.postgres.socket_folder)) < 80
    finally:
        server.stop()
        server.postgres.socket_folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_folder_that_the_user_cannot_enter_is_refused_with_advice(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    settings = PostgresSettings(closed / "postgres", folder / "log", free_port(), "x")
    with pytest.raises(LocalError, match=r"cannot enter .*ORCA_DB_DIR"):
        Postgres(settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_programs_under_a_closed_folder_are_copied_and_run(folder: Path) -> None:
    account, wheel = accounts.unprivileged(), find()
    assert usable_by(account, wheel, folder) == wheel  # readable where they are
    closed = folder / "closed"
    hidden = Binaries(closed, wheel.version)
    shutil.copytree(wheel.root, hidden.root)
    shutil.copytree(wheel.site / LIBRARIES, closed / LIBRARIES)
    closed.chmod(0o700)

    copied = usable_by(account, hidden, folder)

    assert copied.site.parent == folder
    (folder / "data").mkdir()
    os.chown(folder / "data", account.uid, account.gid)
    done = subprocess.run(
        [copied.path("initdb"), "-D", folder / "data", "-U", "postgres", "--no-sync"],
        user=account.uid,
        group=account.gid,
        extra_groups=(),
        stdout=subprocess.DEVNULL,
        env={"LC_ALL": "C"},
        check=False,
    )
    assert done.returncode == 0
