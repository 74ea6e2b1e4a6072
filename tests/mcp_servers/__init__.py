"""Real MCP servers, good and broken, that tests start as processes of their own."""
