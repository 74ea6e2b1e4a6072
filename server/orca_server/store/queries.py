"""Loads the named statements of sql/queries.

A block starts with `-- name: x` and ends before the next one. Parameters are asyncpg's own
(`$1`), so a block runs in psql and linters read it.
"""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)


def sql_folder() -> Path:
    """The folder `sql`: in the repository, else the copy in the wheel."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parents[1] / "sql", package / "sql"):
        if (folder / "migrations").is_dir():
            return folder
    raise FileNotFoundError(f"no sql/migrations beside {package}")


def load_queries(folder: Path) -> dict[str, str]:
    """Statement by name, from all files of a folder.

    Raises:
        ValueError: If two blocks have one name, or text stands before the first block.
    """
    queries: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        head, *parts = _NAME.split(path.read_text(encoding="utf-8"))
        if any(line and not line.startswith("--") for line in head.splitlines()):
            raise ValueError(f"{path.name}: SQL before the first '-- name:'")
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            if name in queries:
                raise ValueError(f"{path.name}: second statement named {name}")
            queries[name] = body.strip()
    return queries


def without_comment(statement: str) -> str:
    """The statement without the lines that explain it: its first word names its spans."""
    return re.sub(r"\A(?:--.*\n)+", "", statement)


QUERIES = {
    name: without_comment(written)
    for name, written in load_queries(sql_folder() / "queries").items()
}
