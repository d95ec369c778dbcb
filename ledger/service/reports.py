"""The service's own books: the usage report and the cost report of the organization, read with an Admin key.

``GET /v1/organizations/usage_report/messages`` and ``GET /v1/organizations/cost_report``. The SDK has neither; the key
goes in ``x-api-key``, as the reference of both shows it. They are called legacy there and stay supported; their
successor (``/v1/organizations/analytics/usage`` and ``/cost``) is in beta. Reading is harmless, so what fails for the
moment is simply asked again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.core.charged import CostLine
from ledger.core.errors import LedgerError, ServiceError, UsageError
from ledger.core.prices import EXACT, Usage
from ledger.core.units import format_instant, parse_instant
from ledger.core.usagereport import WIDTHS_US, Kind, UsageRow, Width

if TYPE_CHECKING:
    import httpx2

BASE_URL = "https://api.anthropic.com"
KEY_VARIABLES = ("ANTHROPIC_ADMIN_API_KEY", "ANTHROPIC_ADMIN_KEY")
"""Where an Admin key is looked for: both names are in the documentation's examples."""

_USAGE_PATH = "/v1/organizations/usage_report/messages"
_COST_PATH = "/v1/organizations/cost_report"
_VERSION = "2023-06-01"  # of the reference's examples; 2026-10-21 changed the Messages API alone
_BUCKETS_AT_MOST: Mapping[str, int] = {"1m": 1440, "1h": 168, "1d": 31}
_ATTEMPTS = 4
_WAIT_SECONDS_AT_MOST = 60.0
_READ_SECONDS = 60.0
_PAGES_AT_MOST = 1_000  # of days: 85 years
_KEY_PAGE = "https://platform.claude.com/settings/admin-keys"
_TOKEN_TYPES: Mapping[str, Kind] = {
    "uncached_input_tokens": "input",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "cache_read_input_tokens": "cache_read",
    "output_tokens": "output",
}


class _CacheBody(msgspec.Struct):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _ToolsBody(msgspec.Struct):
    web_search_requests: int = 0


class _UsageBody(msgspec.Struct):
    uncached_input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int = 0
    cache_creation: _CacheBody | None = None
    server_tool_use: _ToolsBody | None = None
    workspace_id: str | None = None
    model: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None


class _CostBody(msgspec.Struct):
    amount: str
    currency: str = "USD"
    cost_type: str | None = None
    token_type: str | None = None
    workspace_id: str | None = None
    model: str | None = None
    service_tier: str | None = None


class _Bucket(msgspec.Struct):
    starting_at: str
    ending_at: str
    results: list[msgspec.Raw]


class _ReportBody(msgspec.Struct):
    data: list[_Bucket]
    has_more: bool = False
    next_page: str | None = None


_decode_report = msgspec.json.Decoder(_ReportBody).decode
_decode_usage = msgspec.json.Decoder(_UsageBody).decode
_decode_cost = msgspec.json.Decoder(_CostBody).decode


def read_admin_key(path: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return the Admin key of a file, or of the environment.

    Args:
        path: the file; None for the environment.
        environment: the variables.

    Raises:
        UsageError: there is none, or what is there is no Admin key; the text never quotes it.
    """
    where = path or next((name for name in KEY_VARIABLES if environment.get(name)), "")
    if not where:
        raise UsageError(
            "the service's reports take an Admin key, and there is none",
            why="an ordinary API key cannot read them, and only admins of an organization can make one that can",
            next=f"make one at {_KEY_PAGE}; then export {KEY_VARIABLES[0]}=…, or pass --admin-key-file FILE",
        )
    try:
        key = Path(path).read_text(encoding="utf-8") if path else environment[where]
    except (OSError, UnicodeDecodeError) as problem:
        raise UsageError("the Admin key cannot be read", where=where, why=type(problem).__name__) from problem
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError("this is no Admin key", where=where, next="it is one line that begins with sk-ant-admin")
    if key.startswith("sk-ant-") and not key.startswith("sk-ant-admin"):
        raise UsageError(
            "this is an ordinary API key, not an Admin key",
            where=where,
            why="Admin keys begin with sk-ant-admin",
            next=f"make one at {_KEY_PAGE}",
        )
    return key


class AdminReports:
    """The two reports.

    Args:
        key: an Admin key.
        base_url: the service.
        http_client: another transport, as the simulator's.
        wait: how to wait for so many seconds between attempts.
    """

    def __init__(
        self,
        key: str,
        *,
        base_url: str = BASE_URL,
        http_client: httpx2.Client | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        import httpx2  # half a second, and only for this

        self._httpx = httpx2
        self._client = http_client or httpx2.Client(timeout=httpx2.Timeout(_READ_SECONDS, connect=10.0))
        self._base_url = base_url.rstrip("/")
        self._headers = {"x-api-key": key, "anthropic-version": _VERSION, "accept": "application/json"}
        self._wait = wait

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def usage(self, since: int, until: int, width: Width) -> tuple[UsageRow, ...]:
        """Return the tokens of all workspaces and tiers, by model and region.

        Args:
            since: the first bucket's beginning, microseconds UTC.
            until: the last one's end.
            width: of the buckets.

        Raises:
            ServiceError: the service does not answer, or the key was refused.
        """
        groups = ("workspace_id", "model", "service_tier", "inference_geo")
        rows = []
        for bucket in self._buckets(_USAGE_PATH, since, until, width, groups):
            for raw in bucket.results:
                body = _decoded(_decode_usage, raw)
                rows.append(_usage_row(bucket, body))
        return tuple(rows)

    def costs(self, since: int, until: int) -> tuple[CostLine, ...]:
        """Return what was charged for tokens, day by day; what is no tokens is left out.

        Raises:
            ServiceError: the service does not answer, the key was refused, or amounts are not in dollars.
        """
        lines = []
        for bucket in self._buckets(_COST_PATH, since, until, "1d", ("workspace_id", "description")):
            for raw in bucket.results:
                body = _decoded(_decode_cost, raw)
                kind = _TOKEN_TYPES.get(body.token_type or "")
                if kind is not None:
                    lines.append(_cost_line(bucket, body, kind))
        return tuple(lines)

    def _buckets(self, path: str, since: int, until: int, width: Width, groups: tuple[str, ...]) -> Iterator[_Bucket]:
        lasts = WIDTHS_US[width]
        since, until = since - since % lasts, until + -until % lasts
        # "Buckets that end before" an instant are returned: whether one that ends at it is, it does not say.
        query = [
            ("starting_at", format_instant(since)),
            ("ending_at", format_instant(until + lasts)),
            ("bucket_width", width),
            ("limit", str(_BUCKETS_AT_MOST[width])),
            *(("group_by[]", group) for group in groups),
        ]
        page: list[tuple[str, str]] = []
        for _ in range(_PAGES_AT_MOST):
            report = _decoded(_decode_report, self._get(path, query + page))
            yield from (bucket for bucket in report.data if since <= _instant(bucket.starting_at) < until)
            if not report.has_more or not report.next_page:
                return
            page = [("page", report.next_page)]
        raise ServiceError("a report of the service has no end", why=f"it has more than {_PAGES_AT_MOST:,} pages")

    def _get(self, path: str, query: Sequence[tuple[str, str]]) -> bytes:
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            try:
                response = self._client.get(self._base_url + path, params=tuple(query), headers=self._headers)
            except self._httpx.HTTPError as problem:
                if last:
                    raise _no_answer(type(problem).__name__) from None  # its text may quote a header: the key
                self._wait(2.0 ** (attempt - 1))
                continue
            if response.status_code == 200:
                return response.content
            if last or not _is_passing(response.status_code):
                raise _refused(response)
            self._wait(_retry_after_seconds(response, 2.0 ** (attempt - 1)))
        raise AssertionError("the last attempt returns or raises")


def _is_passing(status: int) -> bool:
    return status in (408, 409, 429) or status >= 500


def _retry_after_seconds(response: httpx2.Response, otherwise: float) -> float:
    try:
        return min(max(float(response.headers.get("retry-after", otherwise)), 0.0), _WAIT_SECONDS_AT_MOST)
    except ValueError:
        return otherwise


def _no_answer(kind: str) -> ServiceError:
    return ServiceError(
        "no answer from the service about its usage",
        why=kind,
        next="check the network and ANTHROPIC_BASE_URL, and run it again",
    )


def _refused(response: httpx2.Response) -> LedgerError:
    status = response.status_code
    what = f"the service answered {status} to a report"
    if status in (401, 403):
        return ServiceError(
            f"the service refused the Admin key ({status})",
            why="reports take a key that begins with sk-ant-admin, of the organization that the batches belong to",
            next=f"look at {_KEY_PAGE}, and export {KEY_VARIABLES[0]}=…",
        )
    if status == 404:
        why = "individual accounts have no reports, and neither have gateways to other clouds"
        return ServiceError(what, why=why, next="compare with the pages Usage and Cost of the Claude Console")
    return ServiceError(what, why=_message(response), next="run it again later")


def _message(response: httpx2.Response) -> str:
    try:
        body: Any = msgspec.json.decode(response.content)
        return str(body["error"]["message"])[:300]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "no reason given"


def _decoded(decode: Callable[..., Any], data: bytes | msgspec.Raw) -> Any:
    try:
        return decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as problem:
        raise ServiceError("a report of the service cannot be read", why=str(problem)) from problem


def _instant(text: str) -> int:
    try:
        return parse_instant(text)
    except ValueError as problem:
        raise ServiceError("a report of the service cannot be read", why=f"an instant is {text!r}") from problem


def _usage_row(bucket: _Bucket, body: _UsageBody) -> UsageRow:
    cache, tools = body.cache_creation or _CacheBody(), body.server_tool_use or _ToolsBody()
    return UsageRow(
        starts_at=_instant(bucket.starting_at),
        ends_at=_instant(bucket.ending_at),
        workspace=body.workspace_id or "",
        model=body.model or "",
        tier=body.service_tier or "",
        geo=body.inference_geo or "",
        usage=Usage(
            input_tokens=body.uncached_input_tokens,
            output_tokens=body.output_tokens,
            cache_write_5m_tokens=cache.ephemeral_5m_input_tokens,
            cache_write_1h_tokens=cache.ephemeral_1h_input_tokens,
            cache_read_tokens=body.cache_read_input_tokens,
            web_search_requests=tools.web_search_requests,
        ),
    )


def _cost_line(bucket: _Bucket, body: _CostBody, kind: Kind) -> CostLine:
    try:
        cents = Decimal(body.amount)
    except InvalidOperation as problem:
        raise ServiceError("a report of the service cannot be read", why=f"an amount is {body.amount!r}") from problem
    if body.currency != "USD":
        raise ServiceError(f"the cost report is in {body.currency}, not in USD")
    return CostLine(
        starts_at=_instant(bucket.starting_at),
        workspace=body.workspace_id or "",
        model=body.model or "",
        tier=body.service_tier or "",
        kind=kind,
        amount_usd=EXACT.scaleb(cents, -2),  # "in lowest currency units (e.g. cents)"
    )
