"""A small MCP server over stdio: notes that live as long as it does."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("notes", version="2.1.0")
_notes: list[str] = []


@server.tool()
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
