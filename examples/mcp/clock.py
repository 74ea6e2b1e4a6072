"""A small MCP server over stdio: what time it is."""

from datetime import UTC, datetime

from mcp.server.mcpserver import MCPServer

server = MCPServer("clock", version="1.0.0")


@server.tool()
def now() -> str:
    """The present time, UTC."""
    return datetime.now(UTC).isoformat()


if __name__ == "__main__":
    server.run()
