"""The bench's own statements."""

from pathlib import Path

from orca_server.store.queries import load_queries

QUERIES = load_queries(Path(__file__).parent)
