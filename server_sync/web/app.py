"""The review pages."""

from __future__ import annotations

from fastapi import FastAPI

from server_sync.settings import WebSettings
from server_sync.store.blobs import Blobs
from server_sync.store.metadata import Metadata


def create_app(metadata: Metadata, blobs: Blobs, settings: WebSettings) -> FastAPI:
    """The application over a store."""
    return FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
