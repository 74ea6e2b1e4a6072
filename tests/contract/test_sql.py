"""Every statement of sql/queries: it prepares, it names its tenant, and its index exists."""

import re
from pathlib import Path

import asyncpg
import pglast.ast
import pglast.visitors
import pytest

from orca_server.store.queries import load_queries, sql_folder

QUERIES = load_queries(sql_folder() / "queries")  # with the comments that explain them

TABLES_WITHOUT_TENANT = {"schema_migrations", "change_epoch"}
_INDEX = re.compile(r"\b[a-z_]+_(?:pkey|key|idx)\b")


def comment_of(statement: str) -> str:
    lines = []
    for line in statement.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


def tables_of(statement: str) -> set[str]:
    ctes = set(re.findall(r"\b([a-z_]+) AS (?:MATERIALIZED )?\(", statement))
    found = set()

    class Tables(pglast.visitors.Visitor):
        def visit_RangeVar(self, ancestors: object, node: pglast.ast.RangeVar) -> None:  # noqa: N802
            if node.schemaname is None:
                found.add(node.relname)

    Tables()(pglast.parse_sql(statement))
    return found - ctes


def statement_locks_only(statement: str) -> bool:
    return all(isinstance(raw.stmt, pglast.ast.LockStmt) for raw in pglast.parse_sql(statement))


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_says_its_tenant_and_its_index(name: str) -> None:
    comment = comment_of(QUERIES[name])
    assert comment, "it has no comment"
    assert "tenant" in comment.lower(), f"which tenants? {comment}"
    assert "index" in comment.lower(), f"which index? {comment}"


@pytest.mark.parametrize("name", QUERIES)
def test_a_statement_on_our_tables_speaks_of_the_tenant(name: str) -> None:
    ours = {t for t in tables_of(QUERIES[name]) if not t.startswith("pg_")} - TABLES_WITHOUT_TENANT
    if ours and not statement_locks_only(QUERIES[name]):
        body = QUERIES[name].split("\n", 1)[1]
        assert "tenant_id" in body, f"{name} reads or writes {sorted(ours)} without a tenant"


@pytest.mark.parametrize("name", QUERIES)
def test_parameters_are_named_in_the_comment(name: str) -> None:
    statement = QUERIES[name]
    comment = comment_of(statement)
    used = set(re.findall(r"\$\d+", re.sub(r"(?m)^--.*$", "", statement)))
    told = set(re.findall(r"\$\d+", comment))
    for first, last in re.findall(r"\$(\d+) to \$(\d+)", comment):
        told |= {f"${number}" for number in range(int(first), int(last))}
    if "one array per column" in comment:  # the statement itself names them, in its first lines
        return
    missing = sorted(used - told)
    assert not missing, f"{name}: {missing} are not explained"


async def test_every_statement_prepares_and_every_index_named_exists(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        failures = []
        for name, statement in QUERIES.items():
            try:
                await connection.prepare(statement)
            except asyncpg.PostgresError as error:
                failures.append(f"{name}: {error}")
        assert not failures
        rows = await connection.fetch("SELECT indexname FROM pg_indexes")
    finally:
        await connection.close()
    known = {row["indexname"] for row in rows}
    named = {i: n for n, s in QUERIES.items() for i in _INDEX.findall(comment_of(s))}
    unknown = {index: name for index, name in named.items() if index not in known}
    assert not unknown


def test_two_statements_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: x\nSELECT 1;\n-- name: x\nSELECT 2;\n")
    with pytest.raises(ValueError, match="second statement named x"):
        load_queries(tmp_path)
