"""What the API would only refuse hours later, said at once.

The content of a request is not looked at when its batch is created: a misspelt model, a parameter that no longer
exists or a prefilled answer comes back as an errored item after the whole batch has ended (batch guide,
"Validation"). Each lint here stands for a documented refusal and says what to write instead; what is not
documented to be refused is let through, for the service to judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, Final

import msgspec

from ledger.core.models import (
    LONG_OUTPUT_BETA,
    LONG_OUTPUT_TOKENS,
    Model,
    find_model,
    retirement,
    successor,
    suggest_model,
)
from ledger.core.problems import Problem

MESSAGES_MAX: Final = 100_000
"""Messages in one request (Messages API reference)."""

BREAKPOINTS_MAX: Final = 4
"""``cache_control`` markers in one request, the top-level one included (prompt caching guide)."""

THINKING_BUDGET_TOKENS_MIN: Final = 1_024
"""The smallest ``budget_tokens`` of enabled thinking (Messages API reference)."""

_ROLES: Final = frozenset({"user", "assistant", "system"})
_INTERLEAVED_BETA: Final = "interleaved-thinking"  # with it, the budget may exceed max_tokens


class LintRules(msgspec.Struct, frozen=True):
    """What a run allows beyond the table of models.

    Args:
        betas: the ``anthropic-beta`` values of the run; one header serves a whole batch.
        allowed_models: ids that are not in the table and are wanted nevertheless.
        today: the day to judge retirements by; None for the table's own date.
    """

    betas: tuple[str, ...] = ()
    allowed_models: tuple[str, ...] = ()
    today: date | None = None


_NO_SAMPLING = (
    "API version 2026-10-21 has no {name}: a request that sends it comes back errored",
    "remove it; to steer the answer, say in the prompt what is wanted",
)
# Refused whatever the model, by their mere presence ("Migrating to API version 2026-10-21"; batch guide).
_REFUSED: Final[dict[str, tuple[str, str]]] = {
    "temperature": _NO_SAMPLING,
    "top_p": _NO_SAMPLING,
    "top_k": _NO_SAMPLING,
    "betas": (
        "the beta header is one for a whole batch, not a parameter of a request",
        "remove it here and pass --beta NAME to the run",
    ),
}
# Refused whatever the model, unless null or false (batch guide, "not supported"; "Refusals and fallback").
_UNSUPPORTED: Final[dict[str, tuple[str, str]]] = {
    "stream": ("a batch cannot stream", 'remove it, or write "stream": false'),
    "speed": ("fast mode does not exist in batches", "remove it"),
    "fallbacks": (
        "server-side fallbacks do not exist in batches: an item with them comes back errored",
        "remove it; a refused item can be asked again of another model in a run of its own",
    ),
}

CAREFUL_KEYS: Final = frozenset({*_REFUSED, *_UNSUPPORTED, "thinking", "inference_geo", "cache_control", "tools"})
"""Params without any of these, with plain-text messages, need no look beyond model and max_tokens."""


def lint_params(params: Mapping[str, Any], rules: LintRules) -> Iterator[Problem]:
    """Yield every problem of one request's params; ``field`` is the path inside them.

    Args:
        params: the decoded params as they would be sent, defaults filled in.
        rules: what the run allows.
    """
    model_id, max_tokens = params.get("model"), params.get("max_tokens")
    yield from lint_model(model_id, rules)
    model = find_model(model_id) if isinstance(model_id, str) else None
    yield from lint_max_tokens(max_tokens, model, rules)
    yield from lint_refused_keys(params)
    yield from _lint_thinking(params, model, rules)
    yield from _lint_geo(params.get("inference_geo"), model)
    yield from _lint_system(params)
    yield from _lint_messages(params.get("messages"), model)
    yield from _lint_caching(params)


def lint_model(model_id: object, rules: LintRules) -> Iterator[Problem]:
    """Yield what is wrong with a model's id: missing, no text, retired or unknown."""
    if model_id is None:
        yield Problem("no-model", "model", "no model is given", "write it in the item, or pass --model MODEL")
    elif not isinstance(model_id, str) or not model_id:
        yield Problem("model-type", "model", "a model is a non-empty text", "write its id, as claude-opus-5-5")
    elif model_id not in rules.allowed_models:
        ended = retirement(model_id, rules.today)
        if ended is not None:
            why = f"{model_id} was retired on {ended}; every request to it fails"
            yield Problem("model-retired", "model", why, f"write {successor(model_id)}")
        elif find_model(model_id) is None:
            near = suggest_model(model_id)
            question = f"; did you mean {near}?" if near else ""
            fix = f"if it is newer than this program, pass --allow-model {model_id}"
            yield Problem(
                "model-unknown",
                "model",
                f"{model_id} does not exist{question}",
                f"write {near}; {fix}" if near else fix,
            )


def lint_max_tokens(max_tokens: object, model: Model | None, rules: LintRules) -> Iterator[Problem]:
    """Yield what is wrong with ``max_tokens``; the model's limit counts only where the model is known."""
    if max_tokens is None:
        fix = "write it in the item, or pass --max-tokens N"
        yield Problem("no-max-tokens", "max_tokens", "no max_tokens is given", fix)
        return
    if type(max_tokens) is not int:  # bool is an int to isinstance, but not to the API
        yield Problem("max-tokens-type", "max_tokens", "max_tokens is no whole number", "write it as 1024")
        return
    if max_tokens < 1:
        yield Problem("max-tokens-range", "max_tokens", "a batch refuses max_tokens below 1", "write 1 or more")
        return
    if model is None:
        return
    limit = model.output_limit_tokens(rules.betas)
    if max_tokens > limit:
        fix = f"write {limit} or less"
        if model.long_output is not False and max_tokens <= LONG_OUTPUT_TOKENS:
            fix += f", or pass --beta {LONG_OUTPUT_BETA}"
        why = f"{max_tokens} is more than {model.id} can write: {limit} tokens"
        yield Problem("max-tokens-range", "max_tokens", why, fix)


def lint_refused_keys(params: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the parameters that no request of a batch may carry, whatever its model."""
    for name in sorted(_REFUSED.keys() & params.keys()):
        why, fix = _REFUSED[name]
        yield Problem("refused-parameter", name, why.format(name=name), fix)
    for name in sorted(_UNSUPPORTED.keys() & params.keys()):
        if params[name] is not None and params[name] is not False:
            yield Problem("refused-parameter", name, *_UNSUPPORTED[name])


def _lint_thinking(params: Mapping[str, Any], model: Model | None, rules: LintRules) -> Iterator[Problem]:
    thinking = params.get("thinking")
    if thinking is None:
        return
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if not isinstance(kind, str):
        yield Problem("thinking", "thinking", "thinking is an object with a type", 'write {"type": "adaptive"}')
        return
    if model is not None and not model.accepts_thinking(kind):
        yield Problem("thinking", "thinking", *_thinking_refusal(kind, model))
    elif kind == "enabled":
        yield from _lint_thinking_budget(thinking.get("budget_tokens"), params.get("max_tokens"), rules)


def _thinking_refusal(kind: str, model: Model) -> tuple[str, str]:
    match kind:
        case "enabled":
            return f"{model.id} (4.7 or later) refuses thinking of type enabled", 'write {"type": "adaptive"}'
        case "adaptive":
            fix = 'write {"type": "enabled", "budget_tokens": 2048}, or remove it'
            return f"{model.id} (4.5 or earlier) refuses thinking of type adaptive", fix
        case _:
            return f"{model.id} always thinks and refuses thinking of type {kind}", "remove it"


def _lint_thinking_budget(budget: object, max_tokens: object, rules: LintRules) -> Iterator[Problem]:
    field = "thinking.budget_tokens"
    if type(budget) is not int or budget < THINKING_BUDGET_TOKENS_MIN:
        why = f"enabled thinking needs a budget of {THINKING_BUDGET_TOKENS_MIN} tokens or more"
        yield Problem("thinking-budget", field, why, f"write {THINKING_BUDGET_TOKENS_MIN} or more")
    elif (
        type(max_tokens) is int
        and budget >= max_tokens
        and not any(beta.startswith(_INTERLEAVED_BETA) for beta in rules.betas)
    ):
        why = f"the budget ({budget}) must be less than max_tokens ({max_tokens}), which includes it"
        yield Problem("thinking-budget", field, why, "lower the budget or raise max_tokens")


def _lint_geo(geo: object, model: Model | None) -> Iterator[Problem]:
    if geo is None:
        return
    if not isinstance(geo, str):
        yield Problem("geo", "inference_geo", "inference_geo is a text", 'write "us" or "global"')
    elif model is not None and not model.accepts_geo:
        yield Problem("geo", "inference_geo", f"{model.id} is older than 4.6 and refuses inference_geo", "remove it")


def _lint_system(params: Mapping[str, Any]) -> Iterator[Problem]:
    if "system" in params and not isinstance(params["system"], str | list):
        yield Problem("system", "system", "system is a text or a list of text blocks", "write a text")


def _lint_messages(messages: object, model: Model | None) -> Iterator[Problem]:
    if not isinstance(messages, list) or not messages:
        fix = 'write [{"role": "user", "content": "..."}]'
        yield Problem("messages", "messages", "messages is a non-empty list of messages", fix)
        return
    if len(messages) > MESSAGES_MAX:
        why = f"{len(messages)} messages; a request takes {MESSAGES_MAX}"
        yield Problem("messages", "messages", why, "drop or join the oldest messages")
        return
    for index, message in enumerate(messages):
        yield from _lint_message(message, f"messages[{index}]")
    if model is not None and not model.accepts_prefill and _is_prefill(messages[-1]):
        why = f"{model.id} (4.6 or later) refuses a prefilled answer: the last message is the assistant's"
        fix = "end with a user message; ask for the format in words or through output_config"
        yield Problem("prefill", f"messages[{len(messages) - 1}]", why, fix)


def _is_prefill(message: object) -> bool:
    """Whether the message is a partial answer, and not a paused server-tool turn sent back to be continued.

    A ``pause_turn`` answer is continued by sending its content back as the last message ("Stop reasons"), on every
    model; what tells it from a prefill is its server tool use.
    """
    if not isinstance(message, dict) or message.get("role") != "assistant":
        return False
    content = message.get("content")
    if not isinstance(content, list):
        return True
    kinds = [block.get("type") for block in content if isinstance(block, dict)]
    return all(kind in ("text", "thinking", "redacted_thinking") for kind in kinds)


def _lint_message(message: object, path: str) -> Iterator[Problem]:
    if not isinstance(message, dict):
        fix = 'write {"role": "user", "content": "..."}'
        yield Problem("message", path, "a message is an object with role and content", fix)
        return
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        yield Problem("role", f"{path}.role", f"{role!r} is no role", "write user or assistant")
    elif isinstance(content, str):
        if role == "user" and _is_blank(content):
            yield _blank(f"{path}.content")
    elif isinstance(content, list):
        for index, block in enumerate(content):
            yield from _lint_block(block, role, f"{path}.content[{index}]")
    else:
        why = "content is a text or a list of blocks"
        yield Problem("content", f"{path}.content", why, "write a text")


def _lint_block(block: object, role: str, path: str) -> Iterator[Problem]:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(block, dict) or not isinstance(kind, str):
        fix = 'write {"type": "text", "text": "..."}'
        yield Problem("block", path, "a content block is an object with a type", fix)
        return
    if kind == "text" and not isinstance(block.get("text"), str):
        yield Problem("block", f"{path}.text", "a text block has a text", 'write {"type": "text", "text": "..."}')
    elif kind == "document" and role == "assistant":
        why = "API version 2026-10-21 refuses a document directly in an assistant message"
        yield Problem("document", path, why, "move it to a user message")
    elif kind == "text" and role == "user":
        text = block.get("text")
        if isinstance(text, str) and _is_blank(text):
            yield _blank(path)
        if block.get("citations"):
            why = "API version 2026-10-21 refuses citations on a text block in a user message"
            yield Problem("citations", f"{path}.citations", why, "remove citations from this block")


def _is_blank(text: str) -> bool:
    return not text or text.isspace()


def _blank(path: str) -> Problem:
    # Observed of the service: "text content blocks must be non-empty", "… must contain non-whitespace text".
    return Problem("blank", path, "the text is empty, and the API refuses empty text", "write text, or drop it")


def count_breakpoints(params: Mapping[str, Any]) -> int:
    """Return how many ``cache_control`` markers a request sets, the top-level automatic one included.

    Looked for where the API reads them: at the top, in system blocks, in tools, in content blocks and in the blocks
    inside tool results; a tool whose own schema has a field of that name does not count.
    """
    count = int(params.get("cache_control") is not None)
    for name in ("system", "tools"):
        count += _marked(params.get(name))
    messages = params.get("messages")
    if isinstance(messages, list):
        count += sum(_marked(message.get("content")) for message in messages if isinstance(message, dict))
    return count


def _marked(blocks: object) -> int:
    if not isinstance(blocks, list):
        return 0
    count = 0
    for block in blocks:
        if isinstance(block, dict):
            count += block.get("cache_control") is not None
            if block.get("type") == "tool_result":
                count += _marked(block.get("content"))
    return count


_SERVER_TOOLS = ("web_search", "web_fetch", "code_execution", "tool_search", "mcp")
_ELSEWHERE = frozenset({"url", "file"})


def costs_beyond_its_bytes(params: Mapping[str, Any]) -> bool:
    """Return whether a request brings input that is not in its bytes, so that they do not bound what it costs.

    Those are images, documents and files by URL or id, and what tools read that the service runs.
    """
    tools = params.get("tools")
    if params.get("mcp_servers") or params.get("container"):
        return True
    if isinstance(tools, list) and any(
        isinstance(tool, dict) and str(tool.get("type") or "").startswith(_SERVER_TOOLS) for tool in tools
    ):
        return True
    messages = params.get("messages")
    return isinstance(messages, list) and any(
        _refers_elsewhere(message.get("content")) for message in messages if isinstance(message, dict)
    )


def _refers_elsewhere(blocks: object) -> bool:
    if not isinstance(blocks, list):
        return False
    for block in blocks:
        if not isinstance(block, dict):
            continue
        source = block.get("source")
        if block.get("type") == "container_upload" or (isinstance(source, dict) and source.get("type") in _ELSEWHERE):
            return True
        if _refers_elsewhere(block.get("content")):
            return True
    return False


def _lint_caching(params: Mapping[str, Any]) -> Iterator[Problem]:
    count = count_breakpoints(params)
    if count > BREAKPOINTS_MAX:
        why = f"{count} cache_control markers; a request takes {BREAKPOINTS_MAX}"
        yield Problem("cache-control", "cache_control", why, "keep the one at the end of the longest shared prefix")


def is_plain(params: Mapping[str, Any]) -> bool:
    """Return True where nothing but model and max_tokens could be wrong: the common case, told at once.

    It is `lint_params` that decides; this only spares it the walk, and must never be true of params it would refuse
    for another reason (a test compares the two).
    """
    if not CAREFUL_KEYS.isdisjoint(params) or type(params.get("system", "")) is not str:
        return False
    messages = params.get("messages")
    if type(messages) is not list or not 0 < len(messages) <= MESSAGES_MAX:
        return False
    role = None
    for message in messages:
        if type(message) is not dict:
            return False
        role, content = message.get("role"), message.get("content")
        if type(content) is not str or not content or content.isspace() or role not in ("user", "assistant"):
            return False
    return role == "user"
