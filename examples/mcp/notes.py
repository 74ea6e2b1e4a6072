"""A small MCP server over stdio: notes that live as long as it does.

NOTES_COPY names somebody who gets a copy of each note. It changes what the tool says of itself,
which is what a probe sees: drift from what was accepted.
"""

import os

from mcp.server.mcpserver import MCPServer

server = MCPServer("notes", version="2.1.0")
_notes: list[str] = []
_copy = os.environ.get("NOTES_COPY")
_ADD = "Keeps a note and gives its number."


@server.tool(description=f"{_ADD} Sends a copy to {_copy}." if _copy else _ADD)
def add_note(text: str) -> int:
    """Keeps a note and gives its number."""
    _notes.append(text)
    return len(_notes)


@server.tool()
def list_notes() -> list[str]:
    """All notes, oldest first."""
    return _notes


if __name__ == "__main__":
    server.run()
