"""Better expectations from runs that are over: how long the answers of a model were, and how many bytes made a token.

What was asked then may differ from what is asked now; whoever learns from another ledger says that it does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import msgspec

from ledger.core.columns import STATUS_OF_OUTCOME
from ledger.core.costs import RequestClass, bytes_per_token
from ledger.core.models import find_model
from ledger.core.state import SERVICE_TYPE, RunState

ANSWERS_MIN = 20
"""Fewer answers say less about the next ones than what is assumed without any."""

_ANSWERED = frozenset(STATUS_OF_OUTCOME[outcome] for outcome, kind in SERVICE_TYPE.items() if kind == "succeeded")


class LearnedModel(msgspec.Struct, frozen=True, kw_only=True):
    """What was learnt of one model, by the id that results report: sums over its answers."""

    model: str
    answers: int
    output_tokens: int
    prompt_tokens: int
    prompt_bytes: int


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """What was learnt from a ledger, of models with at least 20 answers."""

    ledger: str
    models: tuple[LearnedModel, ...]

    def of(self, model: str) -> LearnedModel | None:
        """Return what was learnt of a model, by the id that it is asked by."""
        return next((one for one in self.models if one.model == _resolved(model)), None)

    def bytes_per_token(self, model: str) -> Fraction:
        """Return the bytes that made a token; by the model's generation where nothing was learnt."""
        one = self.of(model)
        known = one is not None and one.prompt_tokens and one.prompt_bytes
        return Fraction(one.prompt_bytes, one.prompt_tokens) if one and known else Fraction(bytes_per_token(model))

    def applied(self, classes: Iterable[RequestClass]) -> list[RequestClass]:
        """Return requests with the length of answer that is to be expected of them, where it was learnt."""
        return [
            each
            if (one := self.of(each.model)) is None
            else msgspec.structs.replace(each, expected_output_tokens=max(round(one.output_tokens / one.answers), 1))
            for each in classes
        ]

    def assumptions(self) -> tuple[str, ...]:
        """Return in words what input and output rest on."""
        parts = [
            f"{one.model} {one.output_tokens / one.answers:,.0f} tokens an answer in {one.answers:,}"
            for one in self.models
        ]
        return (
            f"input: as many bytes a token as in {self.ledger}; by generation for models that are not in it",
            f"output, expected: as in {self.ledger}: {', '.join(parts)}",
        )


def learn(state: RunState, ledger: str) -> Learned:
    """Return what the answers of a run teach.

    Args:
        state: the run.
        ledger: how its ledger is called.
    """
    sums: dict[str, list[int]] = {}
    for spent in state.spending():
        one = sums.setdefault(spent.model, [0, 0, 0])
        one[0] += spent.requests
        one[1] += spent.usage.output_tokens
        one[2] += spent.usage.prompt_tokens
    sizes = _answered_bytes(state)
    return Learned(
        ledger=ledger,
        models=tuple(
            LearnedModel(
                model=model,
                answers=answers,
                output_tokens=output,
                prompt_tokens=prompts,
                prompt_bytes=sizes.get(model, 0),
            )
            for model, (answers, output, prompts) in sorted(sums.items())
            if answers >= ANSWERS_MIN
        ),
    )


def _answered_bytes(state: RunState) -> dict[str, int]:
    """Return the bytes of the requests that were answered, by the model that they asked for."""
    by_class = [0] * len(state.classes)
    columns = state.columns
    for ordinal, status in enumerate(columns.status):
        if status in _ANSWERED:
            by_class[columns.class_id[ordinal]] += columns.size_bytes[ordinal]
    sizes: dict[str, int] = {}
    for one, size in zip(state.classes, by_class, strict=True):
        model = _resolved(one.model)
        sizes[model] = sizes.get(model, 0) + size
    return sizes


def _resolved(model: str) -> str:
    known = find_model(model)
    return model if known is None else known.resolved
