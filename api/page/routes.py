"""The live page at ``/``, and where ``/dashboard`` leads."""

from __future__ import annotations

import hashlib
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
        "/favicon.svg": ("favicon.svg", "image/svg+xml"),
    }
)
DASHBOARDS = ("/dashboard", "/dashboard/sessions", "/dashboard/analytics", "/dashboard/insights")


def build_router(settings: Settings) -> APIRouter:
    """The routes of the page; none where ``dashboard_enabled`` is off."""
    router = APIRouter(include_in_schema=False)
    if not settings.dashboard_enabled:
        return router
    for path, (name, media_type) in FILES.items():
        content = (Path(__file__).parent / name).read_bytes()
        router.add_api_route(path, _file(content, media_type), methods=["GET", "HEAD"])

    async def dashboard() -> Response:
        return RedirectResponse(settings.grafana_url or "/", 307)

    for path in DASHBOARDS:
        router.add_api_route(path, dashboard, methods=["GET", "HEAD"])
    return router


def _file(content: bytes, media_type: str):  # type: ignore[no-untyped-def]  # a route's own signature is what FastAPI reads
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def show(request: Request) -> Response:
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return show
