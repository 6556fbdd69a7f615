"""The OpenAPI document, and a page to read it and try things on, without the internet.

How to think about it: the page is Swagger UI as its publisher built it, out of a wheel, so nothing
is loaded from anywhere else, and the browser is told to refuse if something tried. Only the page
itself is ours. What the wheel brings lies under a path that names its version, so browsers may keep
it for good.
"""

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import msgspec
from litestar import MediaType, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler
from swagger_ui_bundle import swagger_ui_path

from payment_manager.entrypoints.api.openapi import document

_DIRECTORY = Path(str(swagger_ui_path))
_MEDIA_TYPES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
ASSETS = f"/docs/{_DIRECTORY.name}"  # /docs/swagger-ui-5.31.0

_OPENAPI = msgspec.json.encode(document(version("payment-manager")))

# validatorUrl: else the page would send the document to a validator on the internet.
_START = """\
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null
});
"""
_STYLE = "body { margin: 0; background: #fafafa; }"

_PAGE = f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Distributed Payment Manager</title>
<link rel="icon" type="image/png" href="{ASSETS}/favicon-32x32.png">
<link rel="stylesheet" href="{ASSETS}/swagger-ui.css">
<style>{_STYLE}</style>
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the <a href="/openapi.json">document</a> does not.</noscript>
<script src="{ASSETS}/swagger-ui-bundle.js"></script>
<script>{_START}</script>
</body>
</html>
"""


def _allowed(inline: str) -> str:
    """A Content-Security-Policy source that stands for exactly this text in the page."""
    return f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"


_HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' {_allowed(_START)}",
            f"style-src 'self' {_allowed(_STYLE)}",
            "img-src 'self' data:",  # Swagger UI's icons are in its style sheet
            "connect-src 'self'",  # the document, and what is tried out
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@get("/docs", include_in_schema=False, sync_to_thread=False)
def docs_page() -> Response[str]:
    return Response(_PAGE, media_type=MediaType.HTML, headers=_HEADERS)


@get(f"{ASSETS}/{{name:str}}", include_in_schema=False, sync_to_thread=False)
def docs_asset(name: FromPath[str]) -> Response[bytes]:
    if name not in _MEDIA_TYPES:
        raise NotFoundException
    headers = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(_asset(name), media_type=_MEDIA_TYPES[name], headers=headers)


@cache
def _asset(name: str) -> bytes:
    """From the disk once: it's 2 MB in all, and few services ever show the page."""
    return (_DIRECTORY / name).read_bytes()


@get("/openapi.json", include_in_schema=False, sync_to_thread=False)
def openapi_document() -> Response[bytes]:
    return Response(_OPENAPI, media_type=MediaType.JSON, headers={"Cache-Control": "no-cache"})


docs_handlers: tuple[ControllerRouterHandler, ...] = (docs_page, docs_asset, openapi_document)
