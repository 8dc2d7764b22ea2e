"""The review pages: a grid of samples, a page for each, and the devices. Read-only, offline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from server_sync.curation import words
from server_sync.settings import WebSettings
from server_sync.store.blobs import Blobs
from server_sync.store.metadata import Metadata
from server_sync.web import views
from server_sync.web.routes import router

LOOPBACK: Final = ("localhost", "127.0.0.1", "::1", "[::1]")
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - known, not bound

_HERE = Path(__file__).parent

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def create_app(metadata: Metadata, blobs: Blobs, settings: WebSettings) -> FastAPI:
    """The application over a store."""
    templates = _templates()
    app = FastAPI(title="tilesift", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(router(metadata, blobs, settings, templates))
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")

    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(settings), www_redirect=False)

    @app.middleware("http")
    async def _secure(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Cache-Control", "no-cache")
        return response

    @app.exception_handler(HTTPException)
    async def _error(request: Request, error: HTTPException) -> Response:
        context = {"status": error.status_code, "title": HTTPStatus(error.status_code).phrase}
        return templates.TemplateResponse(
            request, "error.html", context, status_code=error.status_code, headers=error.headers
        )

    return app


def _hosts(settings: WebSettings) -> list[str]:
    """Names a request may ask for: another one is a foreign page on a re-bound name.

    Bound to every address, this machine cannot know what it is called unless told.
    """
    if settings.host in EVERYWHERE and not settings.hosts:
        return ["*"]
    return [*LOOPBACK, settings.host.lower(), *(name.lower() for name in settings.hosts)]


def _templates() -> Jinja2Templates:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        words=words,
        views=views,
        sample_path=views.sample_path,
        moment=views.moment,
        ago=views.ago,
    )
    return Jinja2Templates(env=environment)
