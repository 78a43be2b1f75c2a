"""`/openapi.json`, and `/docs`: Swagger UI from an installed package, so that it works offline."""

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from kalm_reranker.extras import import_extra
from kalm_reranker.server.openapi_3_0 import as_openapi_3_0

# Only these files of the package are served; no path of a request is looked up anywhere.
_FILES: Final = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_HEADERS: Final = {
    # Nothing from elsewhere, nothing inline; requests to this server only.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>kalm-reranker</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Addresses are relative to the page: right behind any prefix of a reverse proxy.
_START: Final = """SwaggerUIBundle({
  url: "docs/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
});
"""


def add_docs(app: FastAPI) -> None:
    """Adds the document and its page to an app."""
    add = app.add_api_route
    add("/openapi.json", _openapi, include_in_schema=False)
    add("/docs", _page, include_in_schema=False)
    add("/docs/openapi.json", _openapi_for_page, include_in_schema=False)
    add("/docs/start.js", _start, include_in_schema=False)
    for name in _FILES:
        add(f"/docs/{name}", _file_of_page, include_in_schema=False)


async def _openapi(request: Request) -> Response:
    return JSONResponse(_document(request))


async def _openapi_for_page(request: Request) -> Response:
    return JSONResponse(as_openapi_3_0(_document(request)))


async def _page() -> Response:
    return HTMLResponse(_PAGE, headers=_HEADERS)


async def _start() -> Response:
    return Response(_START, media_type="text/javascript", headers=_HEADERS)


async def _file_of_page(request: Request) -> Response:
    name = request.scope["route"].path.rpartition("/")[2]
    return FileResponse(_swagger_ui() / name, media_type=_FILES[name], headers=_HEADERS)


def _document(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = request.app.openapi()
    prefix = request.scope.get("root_path", "")
    if prefix:
        return {**document, "servers": [{"url": prefix}]}
    return document


def _swagger_ui() -> Path:
    package = import_extra("swagger_ui_bundle", extra="server", purpose="The page of the API")
    return Path(package.swagger_ui_path)
