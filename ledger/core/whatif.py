"""What a run would have cost with another model: its recorded usage, priced anew.

Tokenizers differ: the same text makes some 30 % more tokens on models from 4.7 on ("Models"). Tokens are therefore
scaled by the bytes that make a token of either model; how long another model's answers would have been nobody knows, so
they are taken to be as long in text. Steps are those that each single scaled request would fall on.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from ledger.core.billed import Billed
from ledger.core.costs import bytes_per_token, plain
from ledger.core.errors import UsageError
from ledger.core.prices import EXACT, Pricer, PriceTable, Usage, steps_of_model


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """The same requests and answers with one model; ``difference_usd`` is against what was paid, None if unknown."""

    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal
    standard_usd: Decimal
    difference_usd: Decimal | None


def what_if(
    results: Iterable[Billed], table: PriceTable, models: Iterable[str], paid_usd: Decimal | None
) -> tuple[WhatIf, ...]:
    """Return what all billed results would have cost with each of some models.

    Args:
        results: the billed results.
        table: the recorded prices.
        models: ids as they are written in a request.
        paid_usd: what the results did cost.

    Raises:
        UsageError: the table has no price for a model.
    """
    models = tuple(dict.fromkeys(models))
    for model in models:
        if not steps_of_model(table, model):
            raise UsageError(
                f"there is no price for {model} in the recorded table",
                why=f"it is {table.source}, of {table.quoted_on}",
                next="ledger prices LEDGER shows it",
            )
    sums = {model: _Sum(table, model) for model in models}
    for result in results:
        for one in sums.values():
            one.add(result)
    return tuple(one.row(paid_usd) for one in sums.values())


class _Sum:
    """One model's column while it is added up: usage by step and region, priced once at the end."""

    def __init__(self, table: PriceTable, model: str) -> None:
        self._model = model
        self._pricer = Pricer(table)
        self._bytes_per_token = bytes_per_token(model)
        self._requests = 0
        self._usage = Usage()
        self._cost, self._standard = Decimal(0), Decimal(0)

    def add(self, result: Billed) -> None:
        usage = _scaled(result.usage, bytes_per_token(result.model), self._bytes_per_token)
        batch = self._pricer.usd(self._model, usage, geo=result.geo)
        standard = self._pricer.usd(self._model, usage, batch=False, geo=result.geo)
        if batch is None or standard is None:
            raise UsageError(f"there is no price for {self._model} in the region {result.geo!r}")
        self._requests += 1
        self._usage += usage
        self._cost = EXACT.add(self._cost, batch)
        self._standard = EXACT.add(self._standard, standard)

    def row(self, paid_usd: Decimal | None) -> WhatIf:
        return WhatIf(
            model=self._model,
            requests=self._requests,
            input_tokens=self._usage.prompt_tokens,
            output_tokens=self._usage.output_tokens,
            cost_usd=plain(self._cost),
            standard_usd=plain(self._standard),
            difference_usd=None if paid_usd is None else plain(EXACT.subtract(self._cost, paid_usd)),
        )


def _scaled(usage: Usage, before: int, after: int) -> Usage:
    if before == after:
        return usage
    scaled = {name: -(-getattr(usage, name) * before // after) for name in _TOKENS}
    return msgspec.structs.replace(usage, **scaled)


_TOKENS = tuple(name for name in Usage.__struct_fields__ if name.endswith("_tokens"))
