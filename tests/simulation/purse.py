"""What the simulated service charges a ledger, held against what the ledger may cost.

The judge knows everything: which body became which batch and what is charged for it, whether or not anybody has looked.
It does not trust the run's own books in anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from service import Sent

from ledger.core import events as e
from ledger.core.prices import Pricer, Usage


@dataclass
class Allowance:
    """What one ledger may cost, through all that a person says about it.

    Attributes:
        limits: what was allowed from which instant on; None: as much as it takes.
    """

    limits: list[tuple[int, Decimal | None]] = field(default_factory=list)
    _charges: dict[str, Decimal] = field(default_factory=dict)

    def told(self, at: int, event: e.BudgetSet) -> None:
        """Take note of a budget, at the instant at which it became durable; what is merely expected is no limit."""
        self.limits.append((at, Decimal(event.max_usd) if event.max_usd and event.mode == "worst" else None))

    @property
    def limit(self) -> Decimal | None:
        """What is allowed now."""
        return self.limits[-1][1] if self.limits else None

    def charge(
        self, batch: Any, now: int, charged: Callable[[Any], Decimal], at_most: Callable[[int], Decimal]
    ) -> Decimal:
        """Return what a batch is charged, or, while it is open, the most that it can be."""
        if batch.batch_id not in self._charges:
            if batch.status(now) != "ended":
                return at_most(batch.columns.count)
            self._charges[batch.batch_id] = charged(batch)
        return self._charges[batch.batch_id]

    def broken(
        self, sent: Iterable[Sent], batch_of: Callable[[str], Any], now: int, charged: Callable[[Any], Decimal]
    ) -> str:
        """Return how a limit is exceeded, or nothing.

        What was let go while a limit held must stay within it, with all before it, whenever it is charged: a limit that
        is raised later excuses nothing that was sent before.
        """
        bills: list[tuple[int, Decimal]] = []
        for one in sent:
            if one.batch:
                if one.batch not in self._charges:
                    batch = batch_of(one.batch)
                    if batch.status(now) != "ended":
                        continue
                    self._charges[one.batch] = charged(batch)
                bills.append((one.at, self._charges[one.batch]))
        for index, (begins, limit) in enumerate(self.limits):
            ends = self.limits[index + 1][0] if index + 1 < len(self.limits) else 1 << 62
            bill = sum((usd for at, usd in bills if at < ends), Decimal(0))
            if limit is not None and bill > limit and any(begins <= at < ends for at, _ in bills):
                return f"${bill} are charged for what was sent before {ends}, of ${limit} allowed from {begins} on"
        return ""


def in_dollars(pricer: Pricer, model: str, usage: Usage) -> Decimal:
    """Return what the service charges for a batch of one model."""
    usd = pricer.usd(model, usage)
    assert usd is not None
    return usd
