"""The models that exist, what each accepts, and when each retires: a dated table.

Prices are not here (they change on their own dates and are recorded in the log). A model that is missing from this
table may simply be newer than it: `TABLE_DATE` says how old it is, and ``--allow-model`` lets an unknown id through.

Sources: ids and end-of-life dates from the lists of the official SDK 2.12.0 (``types/model.py``,
``DEPRECATED_MODELS``); context, output limits and earliest retirement dates from the model and "Model deprecations"
pages of 2026-10-10; what a generation refuses from "Claude API errors" of 2026-10-08; minimum cacheable prefixes
from "Prompt caching" of 2026-08 and the model pages. ``None`` means that no official figure could be read.
"""

from __future__ import annotations

import difflib
import re
from datetime import date, timedelta
from typing import Final

import msgspec

TABLE_DATE: Final = date(2026, 11, 22)
"""The day up to which this table is right."""

LONG_OUTPUT_BETA: Final = "output-300k-2026-03-24"
"""The beta that raises ``max_tokens`` to 300,000 in batches (batch guide)."""

LONG_OUTPUT_TOKENS: Final = 300_000

RETIREMENT_WARNING: Final = timedelta(days=60)
"""A batch run may last weeks, and its retries longer: models that may go within this time are worth a word."""


class Model(msgspec.Struct, frozen=True):
    """What one model id accepts.

    Args:
        id: the id as it is written in a request.
        resolved: the id that results report; differs from ``id`` only for the undated aliases of 4.5.
        generation: major and minor version; what is refused follows from it.
        context_tokens: the context window.
        output_tokens_max: the largest ``max_tokens`` without a beta.
        long_output: whether `LONG_OUTPUT_BETA` raises that; None where no page says.
        cache_tokens_min: the shortest prefix that is cached; None where no page says.
        thinking_always_on: whether ``{"type": "disabled"}`` is refused.
        retires_on: the announced end of life.
        not_before: without one, the day before which the model will not retire.
    """

    id: str
    resolved: str
    generation: tuple[int, int]
    context_tokens: int
    output_tokens_max: int
    long_output: bool | None
    cache_tokens_min: int | None
    thinking_always_on: bool = False
    retires_on: date | None = None
    not_before: date | None = None

    @property
    def bytes_per_token(self) -> int:
        """Bytes of English a token stands for: 4 up to 4.6, 3 from 4.7 on (its tokenizer counts some 30 % more)."""
        return 4 if self.generation < (4, 7) else 3

    @property
    def accepts_prefill(self) -> bool:
        """Whether the last message may be a partial assistant turn."""
        return self.generation < (4, 6)

    @property
    def accepts_geo(self) -> bool:
        """Whether ``inference_geo`` may be sent."""
        return self.generation >= (4, 6)

    def accepts_thinking(self, kind: str) -> bool:
        """Return False where ``thinking: {"type": kind}`` is documented to be refused."""
        if kind == "enabled":
            return self.generation < (4, 7)
        if kind == "adaptive":
            return self.generation >= (4, 6)
        return not (kind == "disabled" and self.thinking_always_on)

    def output_limit_tokens(self, betas: tuple[str, ...]) -> int:
        """Return the largest ``max_tokens`` under these betas; where no page says, the larger one."""
        if LONG_OUTPUT_BETA in betas and self.long_output is not False:
            return LONG_OUTPUT_TOKENS
        return self.output_tokens_max


def _new(
    name: str,
    generation: tuple[int, int],
    not_before: date | None,
    *,
    long_output: bool | None = True,
    cache_tokens_min: int | None = None,
    thinking_always_on: bool = False,
) -> list[Model]:
    """A model of 4.6 or later: 1M context, 128K output, and an undated id that is itself the snapshot."""
    return [
        Model(
            id=name,
            resolved=name,
            generation=generation,
            context_tokens=1_000_000,
            output_tokens_max=128_000,
            long_output=long_output,
            cache_tokens_min=cache_tokens_min,
            thinking_always_on=thinking_always_on,
            not_before=not_before,
        )
    ]


def _old(
    name: str,
    dated: str,
    *,
    cache_tokens_min: int,
    retires_on: date | None = None,
    not_before: date | None = None,
) -> list[Model]:
    """A model of 4.5: 200K context, 64K output, an alias and a dated id."""
    return [
        Model(
            id=each,
            resolved=dated,
            generation=(4, 5),
            context_tokens=200_000,
            output_tokens_max=64_000,
            long_output=False,
            cache_tokens_min=cache_tokens_min,
            retires_on=retires_on,
            not_before=not_before,
        )
        for each in (name, dated)
    ]


# "Thinking is always on" is documented for Fable and Opus 5.5; of Mythos no page says it, so nothing is refused there.
_TABLE: Final[tuple[list[Model], ...]] = (
    _new("claude-fable-5-2", (5, 2), None, long_output=None, thinking_always_on=True),
    _new("claude-mythos-5-2", (5, 2), None, long_output=None),
    _new("claude-fable-5-1", (5, 1), date(2027, 9, 1), long_output=False, thinking_always_on=True),
    _new("claude-mythos-5-1", (5, 1), date(2027, 9, 1), long_output=False),
    _new("claude-opus-5-5", (5, 5), date(2027, 9, 22), thinking_always_on=True),
    _new("claude-sonnet-5-5", (5, 5), date(2027, 9, 28)),
    _new("claude-haiku-5-5", (5, 5), date(2027, 10, 7), cache_tokens_min=512),
    _new(
        "claude-fable-5",
        (5, 0),
        date(2027, 6, 9),
        long_output=False,
        cache_tokens_min=512,
        thinking_always_on=True,
    ),
    _new("claude-mythos-5", (5, 0), date(2027, 6, 9), long_output=False, cache_tokens_min=512),
    _new("claude-opus-5", (5, 0), date(2027, 7, 24), cache_tokens_min=512),
    _new("claude-sonnet-5", (5, 0), date(2027, 6, 30), cache_tokens_min=1_024),
    _new("claude-opus-4-8", (4, 8), date(2027, 5, 28), cache_tokens_min=1_024),
    _new("claude-opus-4-7", (4, 7), date(2027, 4, 16), cache_tokens_min=2_048),
    _new("claude-opus-4-6", (4, 6), date(2027, 2, 5), cache_tokens_min=4_096),
    _new("claude-sonnet-4-6", (4, 6), date(2027, 2, 17), cache_tokens_min=1_024),
    _old("claude-opus-4-5", "claude-opus-4-5-20251101", cache_tokens_min=4_096, not_before=date(2026, 11, 24)),
    _old(
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        cache_tokens_min=1_024,
        retires_on=date(2026, 11, 30),
    ),
    _old(
        "claude-haiku-4-5",
        "claude-haiku-4-5-20251001",
        cache_tokens_min=4_096,
        not_before=date(2026, 10, 15),
    ),
)

MODELS: Final[dict[str, Model]] = {model.id: model for row in _TABLE for model in row}
"""Every id that may be asked, aliases and dated ids both, newest first."""

RETIRED: Final[dict[str, date]] = {
    "claude-1.3": date(2024, 11, 6),
    "claude-1.3-100k": date(2024, 11, 6),
    "claude-instant-1.1": date(2024, 11, 6),
    "claude-instant-1.1-100k": date(2024, 11, 6),
    "claude-instant-1.2": date(2024, 11, 6),
    "claude-2.0": date(2025, 7, 21),
    "claude-2.1": date(2025, 7, 21),
    "claude-3-sonnet-20240229": date(2025, 7, 21),
    "claude-3-opus-20240229": date(2026, 1, 5),
    "claude-3-7-sonnet-latest": date(2026, 2, 19),
    "claude-3-7-sonnet-20250219": date(2026, 2, 19),
    "claude-3-5-haiku-latest": date(2026, 2, 19),
    "claude-3-5-haiku-20241022": date(2026, 2, 19),
    "claude-opus-4-0": date(2026, 6, 15),
    "claude-opus-4-20250514": date(2026, 6, 15),
    "claude-sonnet-4-0": date(2026, 6, 15),
    "claude-sonnet-4-20250514": date(2026, 6, 15),
    "claude-mythos-preview": date(2026, 6, 30),
    "claude-opus-4-1": date(2026, 8, 5),
    "claude-opus-4-1-20250805": date(2026, 8, 5),
}
"""Ids that were models once, and the day each ended."""

_FAMILIES: Final = ("fable", "mythos", "opus", "sonnet", "haiku")
_VENDOR_PREFIX = re.compile(r"^(?:[a-z]{2,6}\.)?anthropic[./]")
_SUFFIX = re.compile(r"(?:-v\d+(?::\d+)?|-latest|[-@]\d{8}|:[a-z0-9]+)+$")


class Notice(msgspec.Struct, frozen=True):
    """Something to know about a model that the run will use; said once a model, not once a line.

    Args:
        model: the id as written in the items.
        code: ``retiring`` (a date is announced) or ``may-retire`` (the earliest date is near or past).
        why: what is known, with its date.
        fix: what to do about it.
    """

    model: str
    code: str
    why: str
    fix: str


def find_model(model_id: str) -> Model | None:
    """Return what is known of a model id, or None: unknown or retired."""
    return MODELS.get(model_id)


def retirement(model_id: str, today: date | None = None) -> date | None:
    """Return the day on which a model ended, or None while it still answers.

    Args:
        model_id: the id as written.
        today: the day to judge by; by default the table's own, which is right for anything already retired then.
    """
    ended = RETIRED.get(model_id)
    model = MODELS.get(model_id)
    if model is not None:
        ended = model.retires_on
    return ended if ended is not None and ended <= (today or TABLE_DATE) else None


def model_notices(model_id: str, today: date) -> tuple[Notice, ...]:
    """Return what a person should know before a run relies on this model; empty where there is nothing.

    A model that has already ended is not a notice but an error of its items; see `retirement`.

    Args:
        model_id: the id as written in the items.
        today: the day to judge by.
    """
    model = MODELS.get(model_id)
    if model is None or retirement(model_id, today):
        return ()
    if model.retires_on is not None:
        return (
            Notice(
                model_id,
                "retiring",
                f"{model_id} is deprecated and ends on {model.retires_on}; requests that run later come back errored",
                f"finish before then, or use {successor(model_id)}",
            ),
        )
    if model.not_before is not None and model.not_before - today <= RETIREMENT_WARNING:
        return (
            Notice(
                model_id,
                "may-retire",
                f"{model_id} is promised only until {model.not_before}, and this table is of {TABLE_DATE}",
                f"look at Anthropic's page on model deprecations; {successor(model_id)} follows it",
            ),
        )
    return ()


def successor(model_id: str) -> str:
    """Return the newest model of the same family; of an unknown family, the newest Sonnet."""
    family = next((name for name in _FAMILIES if name in model_id), "sonnet")
    newest = max((m for m in MODELS.values() if f"-{family}-" in m.id), key=lambda m: m.generation)
    return newest.id


def suggest_model(model_id: str) -> str | None:
    """Return the existing id that was most likely meant, or None if nothing is near.

    Dates, ``-latest``, cloud prefixes and versions are cut (``us.anthropic.claude-…-v1:0``), dots become dashes, and
    the old word order (``claude-4-5-sonnet``) is turned; what remains is compared by likeness.
    """
    text = _VENDOR_PREFIX.sub("", model_id.strip().lower().replace("_", "-").replace(" ", "-"))
    for _ in range(2):  # a cut version can bare a date
        text = _SUFFIX.sub("", text)
    text = text.replace(".", "-")
    if not text.startswith("claude"):
        text = f"claude-{text}"
    turned = re.fullmatch(rf"claude-(\d+(?:-\d+)?)-({'|'.join(_FAMILIES)})", text)
    if turned:
        text = f"claude-{turned[2]}-{turned[1]}"
    if text in MODELS:
        return text
    if text in RETIRED:
        return successor(text)
    undated = [each.id for each in MODELS.values() if each.retires_on is None and not each.id[-8:].isdigit()]
    near = difflib.get_close_matches(text, undated, n=1, cutoff=0.8)
    return near[0] if near else None
