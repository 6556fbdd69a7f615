"""Every kind of problem that an answer of the service may name, and a page that explains each.

How to think about it: a problem's `type` is a reference to `/problems/<code>`, so the table is the
one place that knows a code's title, status and meaning: what renders an error reads it, what
documents the API reads it, and whoever follows the reference reads it too.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """`code` is for programs and never changes; `meaning` and `remedy` are for people."""

    code: str
    status: int
    title: str
    meaning: str
    remedy: str


_KINDS = (
    # What was sent can't be read, or is not what the contract says.
    ProblemKind(
        "invalid_request",
        400,
        "The request is not valid",
        "The body, a parameter or a header is not what the API asks for. `errors` names every "
        "wrong field with what is wrong with it; an empty name stands for the body as a whole.",
        "Correct the fields that are named. The same request will be refused again.",
    ),
    ProblemKind(
        "not_found",
        404,
        "There is no such page",
        "The path belongs to no route of this service.",
        "Compare the path with the routes of `/docs`; identifiers in it must be percent-encoded.",
    ),
    ProblemKind(
        "method_not_allowed",
        405,
        "The path does not take this method",
        "The path exists, but not with this HTTP method. The header `Allow` names those it has.",
        "Use one of the methods that `Allow` names.",
    ),
    ProblemKind(
        "request_timeout",
        408,
        "The request came too slowly",
        "The body was not complete in time, so the service stopped waiting. Nothing was done.",
        "Send the request again.",
    ),
    ProblemKind(
        "body_too_large",
        413,
        "The body is too large",
        "The body has more bytes than this installation takes (256 KiB unless set otherwise).",
        "Send less: large texts belong in files that the provider holds.",
    ),
    ProblemKind(
        "unsupported_media_type",
        415,
        "The body is not JSON",
        "The header `Content-Type` does not say JSON, or the body is compressed.",
        "Send `Content-Type: application/json` and the body as it is.",
    ),
    # What was asked for does not exist.
    ProblemKind(
        "order_not_found",
        404,
        "There is no such order",
        "No webhook about this order has been applied yet. A chargeback alone makes no order.",
        "Check the order's id, or wait for the provider's first webhook about the order.",
    ),
    ProblemKind(
        "dispute_not_found",
        404,
        "There is no such dispute",
        "No dispute has this id. A chargeback whose order is not known yet has none either.",
        "Find the dispute by its order: `GET /disputes?order_id=…`.",
    ),
    ProblemKind(
        "evidence_not_found",
        404,
        "The dispute has no evidence yet",
        "The dispute exists, and nobody has added evidence to it.",
        "Add some: `POST /disputes/{dispute_id}/evidence`.",
    ),
    # Well formed, but not in this state.
    ProblemKind(
        "order_on_hold",
        409,
        "The order is on hold",
        "An operator or a risk rule has put a hold on the order, so it can't be captured.",
        "Clear the hold (`POST /orders/{order_id}/hold`), then capture with the same key.",
    ),
    ProblemKind(
        "order_final",
        409,
        "The order is final",
        "The provider has said how the payment ended, so it can't be held or captured any more.",
        "Nothing: read the order to see how it ended.",
    ),
    ProblemKind(
        "already_captured",
        409,
        "The order was captured already",
        "A capture of this order succeeded under another idempotency key.",
        "Nothing: the order's `capture` shows it.",
    ),
    ProblemKind(
        "capture_in_progress",
        409,
        "A capture is in progress",
        "Another capture of this order is under way; the provider's answer is not known yet.",
        "Wait until the order's `capture` is no longer pending. If it failed, try again.",
    ),
    ProblemKind(
        "dispute_status",
        409,
        "The dispute's status does not allow this",
        "Evidence can be changed, and a representment sent, only before the dispute is submitted "
        "or decided.",
        "Nothing: read the dispute to see how far it is.",
    ),
    ProblemKind(
        "submission_in_progress",
        409,
        "A submission is in progress",
        "A representment with the present evidence is on its way to the provider.",
        "Wait until its outcome is known. If it failed, the evidence can be changed again.",
    ),
    ProblemKind(
        "webhook_conflict",
        409,
        "This webhook was taken with other content",
        "A webhook with the same `provider_event_id` was taken for the same order, and its JSON "
        "value was another. The first stands; this one was not recorded.",
        "Give every webhook an id of its own, and repeat a webhook unchanged.",
    ),
    # Against what is known, whatever the state.
    ProblemKind(
        "idempotency_key_reused",
        422,
        "The idempotency key was used with other parameters",
        "The same key came before with another amount or currency. The first request stands.",
        "Repeat a request unchanged, or take a new key for a new one.",
    ),
    ProblemKind(
        "amount_exceeds_order",
        422,
        "The amount is more than the order's",
        "No more than the order's amount can be captured.",
        "Capture the order's amount or less.",
    ),
    ProblemKind(
        "currency_mismatch",
        422,
        "The currency is not the order's",
        "An order is captured in its own currency.",
        "Capture in the currency that the order shows.",
    ),
    ProblemKind(
        "no_evidence",
        422,
        "The dispute has no evidence",
        "A representment is made of evidence, and the dispute has none yet.",
        "Add evidence first: `POST /disputes/{dispute_id}/evidence`.",
    ),
    ProblemKind(
        "no_evidence_file",
        422,
        "The evidence has no file",
        "The provider takes a representment with at least one file only.",
        "Add a file to the evidence: `POST /disputes/{dispute_id}/evidence`.",
    ),
    ProblemKind(
        "decision_contradicts",
        422,
        "The decision contradicts an earlier one",
        "The webhook says how an order or a dispute ended, and an earlier webhook said otherwise. "
        "The first decision stands. This one is recorded as `webhook_rejected`.",
        "Don't repeat it: the answer will be the same. Ask the provider which one is true.",
    ),
    # The service's own trouble.
    ProblemKind(
        "internal_error",
        500,
        "Something went wrong in the service",
        "An error that nobody foresaw. It is in the service's log under the correlation id.",
        "Report the correlation id. To repeat the request is safe.",
    ),
    ProblemKind(
        "unavailable",
        503,
        "The service is not available now",
        "The database (or, where Ingest takes webhooks, the broker) can't be reached or did not "
        "confirm in time, so nothing is promised.",
        "Send the same request again after the seconds that `Retry-After` names.",
    ),
    ProblemKind(
        "overloaded",
        503,
        "The service has too much to do",
        "More requests wait than the service can answer in good time, so it takes no more now.",
        "Send the same request again after the seconds that `Retry-After` names, and more slowly.",
    ),
)

PROBLEMS: Mapping[str, ProblemKind] = {kind.code: kind for kind in _KINDS}

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;"
    "color:#1b1f24}code{background:#eef1f4;border-radius:3px;padding:.1em .3em}"
    ".status{color:#57606a}@media(prefers-color-scheme:dark){body{background:#16191d;"
    "color:#e6e8eb}code{background:#2a2f36}.status{color:#9aa4af}a{color:#7ab7ff}}"
)
_HEADERS = {
    # The page loads nothing; its one style is allowed by its hash.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; style-src 'sha256-"
    + b64encode(sha256(_STYLE.encode()).digest()).decode()
    + "'",
    "X-Content-Type-Options": "nosniff",
    "Vary": "Accept",
    "Cache-Control": "public, max-age=3600",
}


def _prose(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if at % 2 else part for at, part in enumerate(parts))


def _page(kind: ProblemKind) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(kind.title)}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(kind.title)}</h1>"
        f'<p class="status"><code>{escape(kind.code)}</code> · HTTP {kind.status}</p>'
        f"<h2>What it means</h2><p>{_prose(kind.meaning)}</p>"
        f"<h2>What to do</h2><p>{_prose(kind.remedy)}</p>"
        '<p><a href="/docs">All of the API</a></p></body></html>'
    )


@get("/problems/{code:str}", include_in_schema=False, sync_to_thread=False)
def explain_problem(code: FromPath[str], request: Request[Any, Any, Any]) -> Response[Any]:
    """What a problem's `type` refers to: a page for browsers, JSON for all others."""
    kind = PROBLEMS.get(code)
    if kind is None:
        raise NotFoundException
    wanted = request.accept.best_match([MediaType.JSON, MediaType.HTML], MediaType.JSON)
    if wanted == MediaType.HTML:
        return Response(_page(kind), media_type=MediaType.HTML, headers=_HEADERS)
    return Response(kind, media_type=MediaType.JSON, headers=_HEADERS)
