"""The addresses of the review pages."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.templating import Jinja2Templates
from sqlalchemy import Connection, select
from starlette.exceptions import HTTPException

from server_sync.curation import queries, summary
from server_sync.domain import Sample, SampleKey
from server_sync.settings import WebSettings
from server_sync.store.blobs import Blobs
from server_sync.store.metadata import Metadata
from server_sync.store.schema import pictures
from server_sync.web import survey_map, views
from sync_protocol import topics

_SAMPLE_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MAX_DOTS: Final = 1500
_QUARANTINE_SHOWN: Final = 20


def router(
    metadata: Metadata, blobs: Blobs, settings: WebSettings, templates: Jinja2Templates
) -> APIRouter:
    """All pages over a store."""
    routes = APIRouter()

    @routes.get("/")
    def grid(request: Request) -> Response:
        chosen = views.selection(request.query_params)
        with metadata.reading() as connection:
            context = _grid(connection, chosen, settings.page_size)
        return templates.TemplateResponse(request, "grid.html", context)

    @routes.get("/samples/{device}/{sample_id}")
    def sample(request: Request, device: str, sample_id: str) -> Response:
        if not topics.is_device_id(device) or not _SAMPLE_ID.fullmatch(sample_id):
            raise HTTPException(404)
        chosen = views.selection(request.query_params)
        with metadata.reading() as connection:
            found = queries.get(connection, SampleKey(device, sample_id))
            if found is None:
                raise HTTPException(404)
            context = _sample(connection, found, chosen)
        return templates.TemplateResponse(request, "sample.html", context)

    @routes.get("/pictures/{sha256}")
    def picture(request: Request, sha256: str) -> Response:
        if not _SHA256.fullmatch(sha256):
            raise HTTPException(404)
        headers = {
            # The name is the content: it can never change.
            "Cache-Control": "public, max-age=31536000, immutable",
            "ETag": f'"{sha256}"',
            # A picture opened by itself may load nothing else.
            "Content-Security-Policy": "default-src 'none'; sandbox",
        }
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        with metadata.reading() as connection:
            query = select(pictures.c.media_type).where(pictures.c.sha256 == sha256)
            media_type = connection.execute(query).scalar_one_or_none()
        if media_type is None:
            raise HTTPException(404)
        try:
            content = blobs.get(sha256)
        except KeyError as error:
            raise HTTPException(404) from error
        return Response(content, media_type=media_type, headers=headers)

    @routes.get("/devices")
    def devices(request: Request) -> Response:
        with metadata.reading() as connection:
            context = {
                "totals": summary.totals(connection),
                "devices": summary.device_states(connection),
                "quarantined": summary.quarantined(connection, _QUARANTINE_SHOWN),
                "now_ms": time.time_ns() // 1_000_000,
            }
        return templates.TemplateResponse(request, "devices.html", context)

    return routes


def _grid(connection: Connection, chosen: views.Selection, page_size: int) -> dict[str, Any]:
    total = queries.count(connection, chosen.wanted)
    pages = max(1, -(-total // page_size))
    chosen = views.on_page(chosen, min(chosen.page, pages))
    offset = (chosen.page - 1) * page_size
    return {
        "chosen": chosen,
        "chips": views.chips(chosen),
        "samples": queries.find(connection, chosen.wanted, chosen.order, page_size, offset),
        "choices": queries.choices(connection, chosen.wanted),
        "total": total,
        "pages": pages,
        "first": offset + 1,
        "empty_store": total == 0 and queries.count(connection, queries.Filter()) == 0,
    }


def _sample(connection: Connection, sample: Sample, chosen: views.Selection) -> dict[str, Any]:
    previous, following = queries.neighbours(connection, chosen.wanted, sample, chosen.order)
    query = select(pictures.c.width, pictures.c.height)
    size = connection.execute(query.where(pictures.c.sha256 == sample.payload_sha256)).one_or_none()
    return {
        "sample": sample,
        "chosen": chosen,
        "previous": previous,
        "following": following,
        "size": size,
        "map": _map(connection, sample),
    }


def _map(connection: Connection, sample: Sample) -> survey_map.SurveyMap | None:
    if sample.longitude is None or sample.latitude is None:
        return None
    here = queries.Spot(sample.key, sample.longitude, sample.latitude, sample.sigma_m)
    others = queries.spots(connection, sample.survey, _MAX_DOTS)
    return survey_map.draw(here, [spot for spot in others if spot.key != sample.key])
