"""What tests of the probe have in common."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.servers import free_port

SERVERS = Path(__file__).parents[1] / "mcp_servers"
GOOD, BROKEN = str(SERVERS / "good.py"), str(SERVERS / "broken.py")
TOOLS = ["forecast", "environment"]
PATIENT, IMPATIENT = 30.0, 3.0


@contextmanager
def answering(status: int, body: bytes = b"no", kind: str = "text/html") -> Iterator[str]:
    """The URL of an HTTP server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_DELETE = do_POST  # noqa: N815 - so http.server wants it

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/mcp"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def good_url() -> Iterator[str]:
    """The URL of a good MCP server of streamable HTTP."""
    port = free_port()
    process = subprocess.Popen([sys.executable, GOOD, str(port)], stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        while True:
            assert process.poll() is None
            try:
                httpx2.get(url)
                break
            except httpx2.ConnectError:
                continue
        yield url
    finally:
        process.terminate()
        process.wait()
