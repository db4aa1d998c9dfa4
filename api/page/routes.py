"""The live page at ``/``, the API's pages at ``/docs``, and where ``/dashboard`` leads. Nothing comes from another host."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from scrapewatch.settings import Settings

FILES = MappingProxyType(
    {
        "/": ("index.html", "text/html; charset=utf-8"),
        "/page.css": ("page.css", "text/css; charset=utf-8"),
        "/page.js": ("page.js", "text/javascript; charset=utf-8"),
        "/login.js": ("login.js", "text/javascript; charset=utf-8"),
        "/favicon.svg": ("favicon.svg", "image/svg+xml"),
    }
)
DOCS = MappingProxyType(
    {
        "/docs": ("docs.html", "text/html; charset=utf-8"),
        "/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    }
)
# Swagger UI, as a package of the registry carries it: FastAPI's own page would load it from a CDN.
SWAGGER = MappingProxyType(
    {
        "/docs/swagger-ui.css": ("swagger-ui.css", "text/css; charset=utf-8"),
        "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    }
)
# The uids are those of grafana/dashboards.
DASHBOARDS = MappingProxyType(
    {
        "/dashboard": "scrapewatch-overview",
        "/dashboard/sessions": "scrapewatch-sessions",
        "/dashboard/analytics": "scrapewatch-performance",
        "/dashboard/insights": "scrapewatch-market",
    }
)


def build_router(settings: Settings) -> APIRouter:
    """The routes of the pages; no live page where ``dashboard_enabled`` is off."""
    router = APIRouter(include_in_schema=False)
    here, swagger = Path(__file__).parent, Path(str(resources.files("fastapi_offline"))) / "static"
    _add_files(router, here, DOCS)
    _add_files(router, swagger, SWAGGER)
    if not settings.dashboard_enabled:
        return router
    _add_files(router, here, FILES)
    for path, uid in DASHBOARDS.items():
        leads = _dashboard(settings.grafana_public_url or settings.grafana_url, uid)
        router.add_api_route(path, leads, methods=["GET", "HEAD"])
    return router


def _dashboard(grafana: str | None, uid: str):  # type: ignore[no-untyped-def]  # a route's own signature is what FastAPI reads
    async def lead(request: Request) -> Response:
        if grafana is None:
            return RedirectResponse("/", 307)
        # What was asked for goes along: a range of time (from, to), variables (var-site).
        asked = f"?{request.url.query}" if request.url.query else ""
        return RedirectResponse(f"{grafana.rstrip('/')}/d/{uid}{asked}", 307)

    return lead


def _add_files(router: APIRouter, folder: Path, files: Mapping[str, tuple[str, str]]) -> None:
    for path, (name, media_type) in files.items():
        router.add_api_route(path, _file((folder / name).read_bytes(), media_type), methods=["GET", "HEAD"])


def _file(content: bytes, media_type: str):  # type: ignore[no-untyped-def]  # a route's own signature is what FastAPI reads
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def show(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return show
