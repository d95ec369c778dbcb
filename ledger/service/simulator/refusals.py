"""Every way the service says no, as it says it.

The JSON body is ``{"type":"error","error":{"type","message","details"},"request_id"}`` (errors page, 2026-10-08), but
what stands in front of the API answers in its own forms: a 413 without ``type`` and ``request_id``
(anthropic-sdk-python issue 938), and HTML.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import msgspec

# Which error type goes with which status: errors page, 2026-10-08.
ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class RefusalError(Exception):
    """The service answers with an error status; nothing was created or changed by it.

    Args:
        status: the HTTP status.
        message: the text for people; programs must not branch on it.
        kind: ``error.type``; by default the one that goes with the status.
        code: ``error.details.error_code``.
        retry_after_seconds: the ``retry-after`` header.
        form: ``api`` for the API's own envelope, ``edge`` for the bare one of the proxy in front, ``html``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        code: str = "",
        retry_after_seconds: float | None = None,
        form: Literal["api", "edge", "html"] = "api",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind or ERROR_TYPES.get(status, "api_error")
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.form = form

    def body(self, request_id: str) -> tuple[str, bytes]:
        """Return the content type and the bytes of the answer."""
        if self.form == "html":
            page = f"<html><head><title>{self.status}</title></head><body><h1>{self.message}</h1></body></html>\n"
            return "text/html; charset=utf-8", page.encode()
        error: dict[str, object] = {"type": self.kind, "message": self.message}
        if self.code:
            error["details"] = {"error_code": self.code}
        envelope: dict[str, object] = {"error": error}
        if self.form == "api":
            envelope = {"type": "error", "error": error, "request_id": request_id}
        return "application/json", msgspec.json.encode(envelope)


def not_found(batch_id: str) -> RefusalError:
    """Return the 404 of a batch that is unknown in this workspace, deleted, or has no results there."""
    return RefusalError(404, f"Message Batch with id {batch_id} was not found.")


# The refusals that a fault can name, made anew each time, as an exception remembers where it was raised. Sources:
# errors page and rate limits page (2026-10-08), anthropic SDK 2.12 `_error_classes.py` for the codes. The wording of
# the queue limit is not documented.
NAMED_REFUSALS: Mapping[str, Callable[..., RefusalError]] = {
    "rate_limit": partial(RefusalError, 429, "This request would exceed your organization's rate limit."),
    "queue_limit": partial(
        RefusalError,
        429,
        "This request would exceed your organization's limit of batch requests in the processing queue.",
    ),
    "spend_cap": partial(
        RefusalError,
        429,
        "Your organization has reached its monthly spend limit.",
        code="enforced_spend_limit_reached",  # comes without retry-after
    ),
    "customer_limit": partial(
        RefusalError,
        400,
        "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
    ),
    "body_timeout": partial(
        RefusalError, 400, "The request body was not received in time.", code="request_body_timeout"
    ),
    "organization_on_hold": partial(RefusalError, 400, "Your organization is on hold.", code="organization_on_hold"),
    "unauthorized": partial(RefusalError, 401, "invalid x-api-key"),
    "billing": partial(RefusalError, 402, "Your credit balance is too low."),
    "forbidden": partial(RefusalError, 403, "Your API key does not have permission to use the specified resource."),
    "not_found": partial(RefusalError, 404, "Not found"),
    "unprocessable": partial(RefusalError, 422, "The request could not be processed."),
    "too_large": partial(RefusalError, 413, "Request exceeds the maximum size", form="edge"),
    "too_large_html": partial(RefusalError, 413, "413 Request Entity Too Large", form="html"),
    "bad_gateway": partial(RefusalError, 502, "502 Bad Gateway", form="html"),
    "overloaded": partial(RefusalError, 529, "Overloaded"),
}
