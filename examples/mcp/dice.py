"""A small MCP server over streamable HTTP on /mcp: `dice.py PORT`."""

import secrets
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("dice", version="0.3.0")


@server.tool()
def roll(sides: int = 6) -> int:
    """Rolls one die."""
    return secrets.randbelow(sides) + 1


if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
