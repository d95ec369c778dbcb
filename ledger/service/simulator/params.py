"""What is wrong with one request's ``params``: found at POST, told only when the batch has ended.

The real service looks at no ``params`` when it accepts a batch; a misspelt model comes back as an ``errored`` item
hours later (batch processing guide, "validation of params is performed asynchronously"). So nothing here ever refuses
a batch: the problem is noted with the request and becomes its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ledger.service.simulator.models import (
    EXTENDED_OUTPUT_BETA,
    EXTENDED_OUTPUT_TOKENS,
    Model,
    find_model,
)

NEWEST_VERSION = "2026-10-21"
MESSAGES_MAXIMUM = 100_000

Params = Mapping[str, Any]

_KNOWN_FIELDS = frozenset(
    {
        "model",
        "max_tokens",
        "messages",
        "system",
        "metadata",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "service_tier",
        "container",
        "context_management",
        "mcp_servers",
        "output_config",
        "output_format",
        "inference_geo",
        "cache_control",
        "stream",
        "speed",
        "fallbacks",
        "diagnostics",
    }
)
_NOT_IN_A_BATCH = {
    "stream": "stream: Streaming is not supported in a batch",
    "speed": "speed: Fast mode is not supported in a batch",
    "fallbacks": "fallbacks: Extra inputs are not permitted in a batch",
}
_SAMPLING = ("temperature", "top_p", "top_k")


class Problem(NamedTuple):
    """Why a request will end as ``errored``: the API's error type and its message."""

    kind: str
    message: str


class Terms(NamedTuple):
    """What the rules depend on besides the params: model, API version, betas."""

    model: Model
    version: str
    betas: frozenset[str]


def find_problem(params: Params, version: str, betas: frozenset[str]) -> Problem | None:
    """Return what the service will say of these params after processing; None if they are sound.

    Args:
        params: the decoded ``params`` of one request.
        version: the ``anthropic-version`` the batch was created with, which decides over sampling parameters.
        betas: the names in the batch's one ``anthropic-beta`` header.
    """
    for field in ("model", "max_tokens", "messages"):
        if field not in params:
            return _invalid(f"{field}: Field required")
    model = find_model(params["model"])
    if model is None:
        return Problem("not_found_error", f"model: {params['model']}")
    if not _KNOWN_FIELDS.issuperset(params):
        extra = next(field for field in params if field not in _KNOWN_FIELDS)
        return _invalid(f"{extra}: Extra inputs are not permitted")
    terms = Terms(model, version, betas)
    for field, message in _NOT_IN_A_BATCH.items():
        if params.get(field):
            return _invalid(message)
    for check in _CHECKS:
        message = check(params, terms)
        if message:
            return _invalid(message)
    return None


def _invalid(message: str) -> Problem:
    return Problem("invalid_request_error", message)


def _check_max_tokens(params: Params, terms: Terms) -> str:
    wanted = params["max_tokens"]
    if not isinstance(wanted, int) or isinstance(wanted, bool):
        return "max_tokens: Input should be a valid integer"
    if wanted < 1:  # 0, the form that pre-warms a cache, is refused in a batch
        return "max_tokens: Input should be greater than or equal to 1"
    extended = terms.model.extended_output and EXTENDED_OUTPUT_BETA in terms.betas
    ceiling = EXTENDED_OUTPUT_TOKENS if extended else terms.model.max_output_tokens
    if wanted > ceiling:
        name = terms.model.name
        return f"max_tokens: {wanted} > {ceiling}, which is the maximum allowed number of output tokens for {name}"
    return ""


def _check_sampling(params: Params, terms: Terms) -> str:
    # Version 2026-10-21 removed the three; requests of a batch made under an older version may still use them.
    if terms.version >= NEWEST_VERSION:
        for field in _SAMPLING:
            if field in params:
                return f"{field}: Extra inputs are not permitted"
    return ""


def _check_thinking(params: Params, terms: Terms) -> str:
    thinking = params.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind == "enabled" and terms.model.generation >= 47:
        return f'thinking.type: "enabled" is not supported by {terms.model.name}; use "adaptive"'
    if kind == "adaptive" and terms.model.generation <= 45:
        return f"thinking.type: adaptive thinking is not supported by {terms.model.name}"
    if kind == "disabled" and terms.model.always_thinks:
        return f"thinking.type: thinking cannot be disabled for {terms.model.name}"
    return ""


def _check_geography(params: Params, terms: Terms) -> str:
    geography = params.get("inference_geo")
    if geography is None:
        return ""
    if terms.model.generation <= 45:
        return f"inference_geo: not supported by {terms.model.name}"
    if geography not in ("us", "global"):
        return "inference_geo: Input should be 'us' or 'global'"
    return ""


def _check_messages(params: Params, terms: Terms) -> str:
    messages = params["messages"]
    if not isinstance(messages, list):
        return "messages: Input should be a valid list"
    if not messages:
        return "messages: at least one message is required"
    if len(messages) > MESSAGES_MAXIMUM:
        return f"messages: List should have at most {MESSAGES_MAXIMUM} items"
    for index, message in enumerate(messages):
        problem = _message_problem(message, terms.version)
        if problem:
            return f"messages.{index}{problem}"
    if messages[-1]["role"] == "assistant" and terms.model.generation >= 46:
        return f"This model ({terms.model.name}) does not support assistant message prefill"
    return ""


def _message_problem(message: object, version: str) -> str:
    if not isinstance(message, dict):
        return ": Input should be an object"
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant"):
        return ".role: Input should be 'user' or 'assistant'"
    if isinstance(content, str):
        return "" if content else ".content: text content must be non-empty"
    if not isinstance(content, list):
        return ".content: Input should be a valid string or list"
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            return f".content.{index}.type: Field required"
        # Both of these are errors since version 2026-10-21.
        if version >= NEWEST_VERSION and role == "assistant" and block["type"] == "document":
            return f".content.{index}: document blocks are not allowed in assistant messages"
        if version >= NEWEST_VERSION and role == "user" and block["type"] == "text" and block.get("citations"):
            return f".content.{index}.citations: not allowed in user messages"
    return ""


_Check = Callable[[Params, Terms], str]
_CHECKS: tuple[_Check, ...] = (
    _check_max_tokens,
    _check_sampling,
    _check_thinking,
    _check_geography,
    _check_messages,
)
