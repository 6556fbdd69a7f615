"""Disputes: lists, one, its events, evidence and submission."""

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post, route
from litestar.handlers import HTTPRouteHandler

from payment_manager.application.ports import DisputesAsked, EventsAsked, Space
from payment_manager.contracts import cursors
from payment_manager.contracts.api import EvidenceRequest, SubmitRequest
from payment_manager.contracts.events import DISPUTE_KINDS
from payment_manager.contracts.wire import uuid
from payment_manager.domain.dispute import DisputeStatus, EvidenceFile
from payment_manager.domain.rejections import DisputeUnknown, EvidenceUnknown, Rejection
from payment_manager.entrypoints.api.orders import by
from payment_manager.entrypoints.api.pages import page
from payment_manager.entrypoints.api.parameters import (
    Query,
    checked_body,
    choice,
    flag,
    idempotency_key,
    line,
    optional_body,
    order_id_text,
    time,
)
from payment_manager.entrypoints.api.problems import refused
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.api.views import (
    REPLAYED,
    dispute_event_view,
    dispute_view,
    evidence_view,
    submit_answer,
)
from payment_manager.entrypoints.http.answers import json
from payment_manager.entrypoints.http.edge import note

_status = choice(*DisputeStatus)
_kind = choice(*DISPUTE_KINDS)


def dispute_handlers(services: Services) -> list[HTTPRouteHandler]:
    queries, operate = services.queries, services.operate

    @get("/disputes")
    async def list_disputes(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = Query(request.scope)
        asked = DisputesAsked(
            statuses=[DisputeStatus(status) for status in query.many("status", _status)],
            reasons=query.many("reason", line),
            order_ids=query.many("order_id", order_id_text),
            due_before=query.one("due_before", time),
        )
        limit = query.limit()
        filter = cursors.filter_hash("disputes", asked)
        after = query.cursor(filter, uuid)
        found = await queries.disputes(asked, after, limit)
        return page(found, lambda row: dispute_view(row.dispute), filter)

    @get("/disputes/events")
    async def list_dispute_events(request: Request[Any, Any, Any]) -> Response[bytes]:
        query = Query(request.scope)
        asked = EventsAsked(
            space=Space.DISPUTE,
            streams=[str(id) for id in query.many("dispute_ids", uuid)],
            kinds=query.many("kinds", _kind),
            time_from=query.one("time_from", time),
            time_to=query.one("time_to", time),
            ascending=query.one("sort_asc", flag) or False,
        )
        limit = query.limit()
        filter = cursors.filter_hash("dispute_events", asked)
        after = query.cursor(filter, uuid)
        return page(await queries.events(asked, after, limit), dispute_event_view, filter)

    @get("/disputes/{dispute_id:str}")
    async def get_dispute(request: Request[Any, Any, Any], dispute_id: str) -> Response[bytes]:
        id = _dispute_id(dispute_id)
        found = await queries.dispute(id) if id else None
        if found is None:
            return refused(request, DisputeUnknown())
        return json(dispute_view(found))

    # One handler for both methods: of two, the framework's OPTIONS would name only the first's.
    @route("/disputes/{dispute_id:str}/evidence", http_method=["GET", "POST"], status_code=200)
    async def evidence(request: Request[Any, Any, Any], dispute_id: str) -> Response[bytes]:
        if request.method == "GET":
            return await get_evidence(request, dispute_id)
        return await replace_evidence(request, dispute_id)

    async def get_evidence(request: Request[Any, Any, Any], dispute_id: str) -> Response[bytes]:
        id = _dispute_id(dispute_id)
        found = await queries.dispute(id) if id else None
        if id is None or found is None:
            return refused(request, DisputeUnknown())
        if found.evidence is None:
            return refused(request, EvidenceUnknown())
        return json(evidence_view(id, found.evidence))

    async def replace_evidence(request: Request[Any, Any, Any], dispute_id: str) -> Response[bytes]:
        asked = await checked_body(request, EvidenceRequest)
        id = _dispute_id(dispute_id)
        if id is None:
            return refused(request, DisputeUnknown())
        note(request.scope, dispute_id=dispute_id)
        files = tuple(
            EvidenceFile(file.file_id, file.name, file.content_type, file.size)
            for file in asked.files or ()
        )
        replaced = await operate.replace_evidence(id, asked.fields or {}, files, by(request))
        if isinstance(replaced, Rejection):
            return refused(request, replaced)
        return json(evidence_view(id, replaced))

    @post("/disputes/{dispute_id:str}/submit", status_code=202)
    async def submit(request: Request[Any, Any, Any], dispute_id: str) -> Response[bytes]:
        asked = await optional_body(request, SubmitRequest)
        key = idempotency_key(request.scope, asked.idempotency_key)
        id = _dispute_id(dispute_id)
        if id is None:
            return refused(request, DisputeUnknown())
        note(request.scope, dispute_id=dispute_id)
        submitted = await operate.submit(id, key, by(request))
        if isinstance(submitted, Rejection):
            return refused(request, submitted)
        note(request.scope, submission=submitted.submission.status.value)
        return json(
            submit_answer(submitted.submission), 202, REPLAYED if submitted.replayed else {}
        )

    return [
        list_disputes,
        list_dispute_events,
        get_dispute,
        evidence,
        submit,
    ]


def _dispute_id(text: str) -> UUID | None:
    try:
        return uuid(text)
    except ValueError:
        return None
