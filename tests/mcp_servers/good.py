"""A good MCP server: `good.py` speaks stdio, `good.py PORT` streamable HTTP on /mcp."""

import os
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("weather", version="1.2.3")


@server.tool()
def forecast(city: str, days: int = 1) -> str:
    """The weather of the next days."""
    return f"{days} sunny days in {city}"


@server.tool()
def environment() -> str:
    """The names of this process's environment."""
    return ",".join(sorted(os.environ))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
