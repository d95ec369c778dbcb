"""One line of input → the request it asks for, or what is wrong with it.

An item has one of two shapes:

* ``{"custom_id", "params"}``: the params go on the wire as the very bytes of the line, unless a run default has to be
  filled in;
* ``{"id" | "custom_id", "prompt", …}``: the request is built from the prompt, the columns ``system``, ``model`` and
  ``max_tokens`` and the run's defaults. Other columns are the user's own and only kept.

Both take an optional ``priority``. A default never overrides what the item says; in the second shape, and for the
id and the priority, null means "not said". An integer id is accepted as its decimal text, since so many data sets
have one; an item without an id gets the digest of its params, never its line number, so that a line moved is still
the same item.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, NoReturn

import msgspec

from ledger.core.errors import UsageError
from ledger.core.lints import (
    LintRules,
    costs_beyond_its_bytes,
    count_breakpoints,
    is_plain,
    lint_max_tokens,
    lint_model,
    lint_params,
    lint_refused_keys,
)
from ledger.core.models import find_model
from ledger.core.prefixes import Prefix, marked_prefixes
from ledger.core.problems import Problem, Refused, refuse
from ledger.core.strict_json import DEPTH_MAX, read_object

__all__ = [
    "DEPTH_MAX",
    "ITEM_BYTES_MAX",
    "PRIORITY_MAX",
    "Defaults",
    "ItemParser",
    "Problem",
    "Request",
    "canonical",
    "check_defaults",
    "derived_id",
    "parse_item",
    "parse_param",
    "same_body",
    "too_large",
]

ITEM_BYTES_MAX: Final = 32_000_000
"""The Messages endpoint's limit of 32 MB a request, read as decimal, the safe side ("Claude API errors")."""

PRIORITY_MAX: Final = 1_000
"""Priorities are −1000 to 1000: enough for any plan, and few enough for a lane each."""

DERIVED_ID_DIGITS: Final = 16
_NO_LIMIT: Final = 1 << 62  # of an allowed model that the table does not know

_PROMPT_COLUMNS: Final = ("model", "max_tokens", "system")
_DEFAULT_OPTIONS: Final = {"model": "--model", "max_tokens": "--max-tokens", "system": "--system"}
# What would be ignored without a word beside a prompt. Not `metadata`, and none of the parameters whose names are
# likely columns of somebody's data (speed, container, …).
_NOT_COLUMNS: Final = frozenset(
    {
        "betas",
        "cache_control",
        "context_management",
        "fallbacks",
        "inference_geo",
        "mcp_servers",
        "messages",
        "output_config",
        "output_format",
        "service_tier",
        "stop_sequences",
        "stream",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user_profile_id",
    }
)
_NOT_BESIDE_PARAMS: Final = _NOT_COLUMNS | {"model", "max_tokens", "system", "prompt"}


class Defaults(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run fills in where an item does not say it; recorded in the log.

    Args:
        model: ``--model``.
        max_tokens: ``--max-tokens``.
        system: ``--system``.
        params: ``--param KEY=JSON``, by key.
        betas: ``--beta NAME``: the ``anthropic-beta`` header of every batch.
        allowed_models: ``--allow-model ID``: ids that the table of models does not know.
    """

    model: str | None = None
    max_tokens: int | None = None
    system: str | None = None
    params: dict[str, Any] = {}
    betas: tuple[str, ...] = ()
    allowed_models: tuple[str, ...] = ()


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request, ready to be sealed.

    The source row is ``prefix + params + suffix`` where ``verbatim``, and ``prefix`` alone otherwise.

    Args:
        custom_id: the user's id, of any length and alphabet.
        params: the exact bytes that go on the wire.
        prefix: the line up to the params, or the whole line.
        suffix: the line behind the params, or nothing.
        verbatim: whether params is a slice of the line.
        priority: higher is sent first.
        model: the model as written, alias or not.
        max_tokens: the most tokens the answer may have.
        cached: whether it sets a ``cache_control`` marker anywhere.
        geo: its ``inference_geo``; None leaves it to the workspace.
        unbounded: whether it brings input that is not in its bytes, so that they do not bound what it costs.
        prefixes: the prefixes of its prompt that it marks with ``cache_control``, shortest first.
    """

    custom_id: str
    params: bytes
    prefix: bytes
    suffix: bytes
    verbatim: bool
    priority: int
    model: str
    max_tokens: int
    cached: bool
    geo: str | None
    unbounded: bool = False
    prefixes: tuple[Prefix, ...] = ()

    @property
    def row(self) -> bytes:
        """The line it was read from, byte for byte."""
        return self.prefix + self.params + self.suffix if self.verbatim else self.prefix


class _RawParams(msgspec.Struct):
    """Only the params, as a slice of the line; everything else is skipped."""

    params: msgspec.Raw


_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_decode_raw_params = msgspec.json.Decoder(_RawParams).decode


def canonical(params: bytes | Mapping[str, Any]) -> bytes:
    """Return the params as compact JSON with sorted keys: the same bytes for the same request, however spelt.

    Whitespace, order and escapes do not matter; ``1`` and ``1.0`` are told apart, as the API does.
    """
    return _encode_sorted(_decode(params) if isinstance(params, bytes) else params)


def same_body(a: bytes, b: bytes) -> bool:
    """Return whether two params ask for the same, by canonical JSON."""
    return a == b or canonical(a) == canonical(b)


def derived_id(params: bytes | Mapping[str, Any]) -> str:
    """Return the id of an item that has none: 16 hex digits of the SHA-256 of its canonical params."""
    return hashlib.sha256(canonical(params)).hexdigest()[:DERIVED_ID_DIGITS]


def parse_item(line: bytes, defaults: Defaults) -> Request | Problem:
    """Parse one line; for many lines, keep an `ItemParser`."""
    return ItemParser(defaults).parse(line)


class ItemParser:
    """Parses the lines of a run under its defaults.

    Args:
        defaults: the run's; `check_defaults` says what is wrong with them, once instead of on every line.
        today: the day to judge the retirement of models by; None for the day of the table.
    """

    def __init__(self, defaults: Defaults, today: date | None = None) -> None:
        self.defaults = defaults
        self._rules = LintRules(defaults.betas, defaults.allowed_models, today)
        self._fill: dict[str, Any] = {
            name: getattr(defaults, name) for name in _PROMPT_COLUMNS if getattr(defaults, name) is not None
        } | defaults.params
        self._fill_keys = frozenset(self._fill)
        self._limits_tokens: dict[str, int] = {}  # of models that passed, so that each is looked up once

    def parse(self, line: bytes) -> Request | Problem:
        """Return the request that a line asks for, or the first thing that is wrong with it.

        Args:
            line: one line without its line end.
        """
        try:
            item = read_object(line)
            custom_id = _custom_id(item)
        except Refused as refused:
            return refused.problem
        try:
            if "params" in item:
                params, wire, prefix, suffix = self._from_params(line, item)
            else:
                params = self._from_prompt(item)
                wire, prefix, suffix = _encode(params), line, b""
            if len(wire) > ITEM_BYTES_MAX:
                raise Refused(too_large(len(wire)))
            priority = _priority(item)
            common = self._passes_at_once(params)
            cached = not common and self._examine(params, item)
        except Refused as refused:
            return msgspec.structs.replace(refused.problem, custom_id=custom_id or "")
        return Request(
            derived_id(params) if custom_id is None else custom_id,
            wire,
            prefix,
            suffix,
            prefix is not line,
            priority,
            params["model"],
            params["max_tokens"],
            cached,
            params.get("inference_geo"),
            not common and costs_beyond_its_bytes(params),
            marked_prefixes(params) if cached else (),
        )

    def problems(self, line: bytes) -> list[Problem]:
        """Return everything that is wrong with a line, where `parse` returns the first; slower, for showing."""
        first = self.parse(line)
        if isinstance(first, Request):
            return []
        try:
            item = read_object(line)
            params = self._from_params(line, item)[0] if "params" in item else self._from_prompt(item)
        except Refused:
            return [first]  # the line has no params to look into
        found = [
            msgspec.structs.replace(self._labelled(problem, item), custom_id=first.custom_id)
            for problem in lint_params(params, self._rules)
        ]
        return found if first in found else [first, *found]

    def _from_params(self, line: bytes, item: dict[str, Any]) -> tuple[dict[str, Any], bytes, bytes, bytes]:
        """Return the params, their wire bytes, and the line before and behind them."""
        params = item["params"]
        if type(params) is not dict:
            fix = 'write {"model": ..., "max_tokens": ..., "messages": [...]}'
            refuse("params", "params", "params is not an object", fix)
        if not _NOT_BESIDE_PARAMS.isdisjoint(item):
            name = min(_NOT_BESIDE_PARAMS & item.keys())
            fix = f"move it into params, or rename the column {name}"
            refuse("ignored", name, f"{name} beside params would be ignored", fix)
        if self._fill_keys <= params.keys():
            wire = bytes(_decode_raw_params(line).params)
            start = _find_slice(line, wire)
            return params, wire, line[:start], line[start + len(wire) :]
        filled = {**{name: value for name, value in self._fill.items() if name not in params}, **params}
        return filled, _encode(filled), line, b""

    def _from_prompt(self, item: dict[str, Any]) -> dict[str, Any]:
        """Return the params that a prompt and its columns ask for."""
        if not _NOT_COLUMNS.isdisjoint(item):
            _refuse_column(item)
        prompt = item.get("prompt")
        if type(prompt) is str:
            if not prompt or prompt.isspace():
                refuse("prompt", "prompt", "the prompt is empty", "write one, or drop the line")
        elif type(prompt) is not list or not prompt:
            _refuse_prompt(item)
        params = dict(self._fill)
        for name in _PROMPT_COLUMNS:
            value = item.get(name)
            if value is not None:
                params[name] = value
        if params.get("system") == "":
            del params["system"]  # said to be none, which the API would not take as an empty text
        params["messages"] = [{"role": "user", "content": prompt}]
        return params

    def _passes_at_once(self, params: dict[str, Any]) -> bool:
        """Whether the common case holds: a model seen before, a fitting max_tokens, plain text."""
        max_tokens, model = params.get("max_tokens"), params.get("model")
        return (
            type(model) is str
            and type(max_tokens) is int
            and 0 < max_tokens <= self._limits_tokens.get(model, 0)
            and is_plain(params)
        )

    def _examine(self, params: dict[str, Any], item: dict[str, Any]) -> bool:
        """Run every lint; return whether the request is cached. The first problem is raised."""
        for problem in lint_params(params, self._rules):
            raise Refused(self._labelled(problem, item))
        model_id: str = params["model"]
        if model_id not in self._limits_tokens:
            model = find_model(model_id)
            limit = _NO_LIMIT if model is None else model.output_limit_tokens(self._rules.betas)
            self._limits_tokens[model_id] = limit
        return count_breakpoints(params) > 0

    def _labelled(self, problem: Problem, item: dict[str, Any]) -> Problem:
        """The problem with its field as the user wrote it: in the line, or as an option of the run."""
        path = problem.field
        root = re.split(r"[.\[]", path, maxsplit=1)[0]
        said = root in item["params"] if "params" in item else item.get(root) is not None
        if root in self._fill and not said:
            path = _DEFAULT_OPTIONS.get(root, f"--param {path}")
        elif "params" in item:
            path = f"params.{path}"
        elif root == "messages":
            path = path.replace("messages[0].content", "prompt").replace("messages[0]", "prompt")
        return msgspec.structs.replace(problem, field=path)


def check_defaults(defaults: Defaults, today: date | None = None) -> list[Problem]:
    """Return what is wrong with the run's own defaults: said once, before the first line is read.

    Args:
        defaults: the run's defaults.
        today: the day to judge the retirement of models by.
    """
    rules = LintRules(defaults.betas, defaults.allowed_models, today)
    found: list[Problem] = []
    if defaults.model is not None:
        found += (_as_option(problem) for problem in lint_model(defaults.model, rules))
    if defaults.max_tokens is not None:
        model = find_model(defaults.model) if defaults.model else None
        found += (_as_option(problem) for problem in lint_max_tokens(defaults.max_tokens, model, rules))
    for name in sorted({*_PROMPT_COLUMNS, "messages", "prompt"} & defaults.params.keys()):
        option = _DEFAULT_OPTIONS.get(name, "each item's prompt")
        found.append(Problem("param", f"--param {name}", f"{name} is not set by --param", f"use {option} for it"))
    found += (_as_option(problem) for problem in lint_refused_keys(defaults.params))
    for beta in defaults.betas:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", beta):
            why = f"{beta!r} is not the name of a beta"
            found.append(Problem("beta", "--beta", why, "write one name an option, as output-300k-2026-03-24"))
    return found


def _as_option(problem: Problem) -> Problem:
    option = _DEFAULT_OPTIONS.get(problem.field, f"--param {problem.field}")
    return msgspec.structs.replace(problem, field=option)


def parse_param(text: str) -> tuple[str, Any]:
    """Return key and value of a ``--param KEY=JSON``; a value that is not JSON is refused, never taken as text.

    Raises:
        UsageError: no key, or no strict JSON.
    """
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--param {text} is not KEY=JSON", next="write it as --param service_tier='\"auto\"'")
    try:
        read = read_object(b'{"value":%s}' % value.encode())
        why = "" if len(read) == 1 else "more follows the value"
    except (Refused, UnicodeEncodeError) as error:
        why = error.problem.why if isinstance(error, Refused) else "it is not valid UTF-8"
    if why:
        hint = f"""for a text, write --param {key}='"..."'"""
        raise UsageError(f"--param {key}: {value!r} is not JSON", why=why, next=hint)
    return key, read["value"]


def too_large(size_bytes: int) -> Problem:
    """Return the problem of an item, or of a whole line, beyond the limit of one request."""
    return Problem(
        "too-large",
        "",
        f"{size_bytes} bytes are more than the {ITEM_BYTES_MAX} that one request may have",
        "split the prompt, or upload what is large and name it by file id",
    )


def _custom_id(item: dict[str, Any]) -> str | None:
    """Return the id as text, or None if the item has none; ``custom_id`` goes before ``id``."""
    field = "custom_id"
    value = item.get(field)
    if value is None:
        field = "id"
        value = item.get(field)
    if type(value) is str:
        if not value:
            refuse("custom-id", field, "the id is empty", "write one, or drop the field")
        if not value.isprintable() and any(unicodedata.category(character) == "Cc" for character in value):
            refuse("custom-id", field, f"the id {value!r} has a control character", "write it without")
        return value
    if value is not None and type(value) is not int:
        refuse("custom-id", field, "an id is a text or a whole number", 'write it as "item-17"')
    return None if value is None else str(value)


def _priority(item: dict[str, Any]) -> int:
    priority = item.get("priority")
    if priority is None:
        return 0
    if type(priority) is not int or not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
        why = f"a priority is a whole number from {-PRIORITY_MAX} to {PRIORITY_MAX}, higher first"
        refuse("priority", "priority", why, "write 0 or drop it, or rename the column if it is your own")
    return priority


def _find_slice(line: bytes, params: bytes) -> int:
    """Return where the params stand in the line.

    Any place where these bytes stand will do, since before + params + behind is the line in each case; the usual
    one is tried first, because searching for kilobytes is slow.
    """
    at = line.find(b'"params"') + len(b'"params"')
    while line[at : at + 1] in (b":", b" ", b"\t"):
        at += 1
    return at if line.startswith(params, at) else line.index(params)


def _refuse_column(item: dict[str, Any]) -> NoReturn:
    name = min(_NOT_COLUMNS & item.keys())
    if "prompt" not in item and "messages" in item:
        why = "there are messages, but no params around them"
        refuse("shape", "messages", why, 'write {"custom_id": ..., "params": {"messages": ...}}')
    if name == "messages":
        refuse("ignored", name, "messages beside a prompt would be ignored", "write one of the two")
    fix = f"pass --param {name}=JSON to the run, or write the item as "
    fix += '{"custom_id": ..., "params": {...}}; rename the column if it is your own'
    refuse("ignored", name, f"{name} beside a prompt would be ignored", fix)


def _refuse_prompt(item: dict[str, Any]) -> NoReturn:
    if "prompt" in item:
        why = "a prompt is a text, or a list of content blocks, and not empty"
        refuse("prompt", "prompt", why, 'write "prompt": "..."')
    if "body" in item and "url" in item:
        why = "this line is in another vendor's batch format"
        refuse("shape", "body", why, 'write {"custom_id": ..., "params": {...}} in the form of the Messages API')
    keys = ", ".join(list(item)[:5]) or "none"
    fix = 'write {"id": ..., "prompt": ...} or {"custom_id": ..., "params": {...}}'
    refuse("shape", "", f"the line has neither a prompt nor params; its keys: {keys}", fix)
