"""SystemService: the OpenAPI document and the page on which people read it."""

import base64
import hashlib
import re
from pathlib import Path

import grpc
from google.api.httpbody_pb2 import HttpBody

from orca.v1 import system_service_pb2 as pb

PAGES = Path(__file__).resolve().parents[1] / "pages"
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)

Context = grpc.aio.ServicerContext[object, object]


class DocsServicer:
    """Answers from two files of the package, read once."""

    def __init__(self) -> None:
        """Reads them.

        Raises:
            OSError: If the package lacks one.
        """
        page = (PAGES / "docs.html").read_text(encoding="utf-8")
        document = (PAGES / "openapi.json").read_bytes()
        self._document = HttpBody(content_type="application/json", data=document)
        self._page = HttpBody(content_type="text/html; charset=utf-8", data=page.encode())
        self._page_headers = (
            ("content-security-policy", policy(page)),
            ("referrer-policy", "no-referrer"),
            ("x-content-type-options", "nosniff"),
        )

    async def GetOpenApi(self, request: pb.GetOpenApiRequest, context: Context) -> HttpBody:
        """The document."""
        return self._document

    async def GetDocs(self, request: pb.GetDocsRequest, context: Context) -> HttpBody:
        """The page; a browser runs nothing in it but what was written here."""
        await context.send_initial_metadata(self._page_headers)
        return self._page


def policy(page: str) -> str:
    """The Content-Security-Policy that lets a page run its own script and style and no other."""
    allowed = {"script": "", "style": ""}
    for kind, text in _INLINE.findall(page):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        allowed[kind] += f" 'sha256-{digest}'"
    return (
        f"default-src 'none'; script-src{allowed['script']}; style-src{allowed['style']}; "
        "connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
