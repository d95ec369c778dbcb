"""What the simulated service would charge, and for what more than once: the judge of a run under test.

A prompt is one item of one user. The runner's wire ids are ``{ordinal}-{nonce}-{label}``: the ordinal stays the same
when an item is sent again and the nonce changes, so (ordinal, body) is the prompt. For other clients the id has no such
meaning; a prompt is then told by what comes before the first dash, and by its body. In both cases what one batch
holds several times is several prompts: only what exceeds the largest number held by one batch is a repetition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from decimal import Decimal

import msgspec

from ledger.service.simulator.answers import is_billed
from ledger.service.simulator.core import Batch
from ledger.service.simulator.envelope import DIGEST_BYTES
from ledger.service.simulator.pricelist import FEMTODOLLARS, charge

_FOR_EVER = 1 << 62


class Tokens(msgspec.Struct):
    """Charged tokens of one model, by price category, and what they cost by the service's own price list."""

    requests: int = 0
    input_tokens: int = 0
    five_minute_write_tokens: int = 0
    one_hour_write_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    web_search_requests: int = 0
    cost_usd: Decimal = Decimal(0)


class BatchBill(msgspec.Struct):
    """One batch: what it held, and what of it is charged so far."""

    batch_id: str
    requests: int
    billed: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal = Decimal(0)


class Bill(msgspec.Struct):
    """The bill of all batches but foreign ones, deleted ones included.

    Args:
        batches: how many were accepted.
        foreign_batches: how many somebody else made.
        requests_accepted: over all batches.
        requests_billed: of the ended batches: succeeded, and not refused before any output.
        prompts_accepted_twice: a prompt went into a batch although an earlier batch had answered it for money, or
            was still open. 0 for a runner that is sure before it repeats.
        prompts_billed_twice: a prompt was charged more than once. What a faultless run must keep at 0.
        bodies_accepted_more_than_once: as ``prompts_accepted_twice``, counted by equal params alone.
        bodies_billed_twice: as ``prompts_billed_twice``, by equal params alone; items with equal params that lie in
            different batches count too.
        ordinals_billed_twice: as ``prompts_billed_twice``, by the ordinal alone: a body that was changed on purpose
            (a higher max_tokens) counts too. Only of ids with two dashes.
        tokens: model → charged tokens.
        by_batch: in the order of acceptance.
        cost_usd: what all of it costs: batch prices, exact.
    """

    batches: int
    foreign_batches: int
    requests_accepted: int
    requests_billed: int
    prompts_accepted_twice: int
    prompts_billed_twice: int
    bodies_accepted_more_than_once: int
    bodies_billed_twice: int
    ordinals_billed_twice: int
    tokens: dict[str, Tokens]
    by_batch: list[BatchBill]
    cost_usd: Decimal = Decimal(0)


class _Tally:
    """Counts repetitions of one kind of key over the batches, in the order of their creation."""

    def __init__(self) -> None:
        self.accepted_twice = 0
        self._billed: Counter[Hashable] = Counter()
        self._largest: dict[Hashable, int] = {}
        self._answered: set[Hashable] = set()
        self._open_until: dict[Hashable, int] = {}

    def add(self, keys: list[Hashable], billed: Iterable[bool], created_at: int, open_until: int) -> None:
        held = Counter(keys)
        for key, count in held.items():
            if key in self._answered or self._open_until.get(key, 0) > created_at:
                self.accepted_twice += count
            self._largest[key] = max(self._largest.get(key, 0), count)
            self._open_until[key] = max(self._open_until.get(key, 0), open_until)
        paid = [key for key, is_paid in zip(keys, billed, strict=True) if is_paid]
        self._billed.update(paid)
        self._answered.update(paid)

    @property
    def billed_twice(self) -> int:
        return sum(max(count - self._largest[key], 0) for key, count in self._billed.items())


def draw_bill(batches: Mapping[str, Batch], now: int) -> Bill:
    """Return the bill at this instant of the server's clock; about 10 µs a request."""
    prompts, bodies, ordinals = _Tally(), _Tally(), _Tally()
    tokens: dict[str, Tokens] = {}
    by_batch = []
    ours = [batch for batch in batches.values() if not batch.accepted.is_foreign]
    for batch in sorted(ours, key=lambda batch: (batch.created_at, batch.accepted.ordinal)):
        has_ended = batch.status(now) == "ended"
        billed = [is_billed(code) for code in batch.codes()] if has_ended else [False] * batch.columns.count
        open_until = batch.ends_at if has_ended and batch.ends_at is not None else _FOR_EVER
        prefixes, digests = _identities(batch)
        prompts.add(list(zip(prefixes, digests, strict=True)), billed, batch.created_at, open_until)
        bodies.add(list(digests), billed, batch.created_at, open_until)
        told = [(prefix, paid) for prefix, paid in zip(prefixes, billed, strict=True) if not prefix.startswith(b"?")]
        ordinals.add([prefix for prefix, _ in told], [paid for _, paid in told], batch.created_at, open_until)
        by_batch.append(_charge(batch, billed, tokens))
    return Bill(
        batches=len(ours),
        foreign_batches=len(batches) - len(ours),
        requests_accepted=sum(batch.requests for batch in by_batch),
        requests_billed=sum(batch.billed for batch in by_batch),
        prompts_accepted_twice=prompts.accepted_twice,
        prompts_billed_twice=prompts.billed_twice,
        bodies_accepted_more_than_once=bodies.accepted_twice,
        bodies_billed_twice=bodies.billed_twice,
        ordinals_billed_twice=ordinals.billed_twice,
        tokens=tokens,
        by_batch=by_batch,
        cost_usd=sum((line.cost_usd for line in by_batch), Decimal(0)),
    )


def _identities(batch: Batch) -> tuple[list[bytes], list[bytes]]:
    """Return the first field of every wire id, marked with ``?`` where it is no ordinal, and the digests."""
    prefixes = []
    for wire_id in batch.columns.wire_ids.split(b"\n"):
        fields = wire_id.split(b"-", 2)
        prefixes.append(fields[0] if len(fields) == 3 else b"?" + fields[0])
    digests = batch.columns.digests
    return prefixes, [digests[at : at + DIGEST_BYTES] for at in range(0, len(digests), DIGEST_BYTES)]


def _charge(batch: Batch, billed: list[bool], tokens: dict[str, Tokens]) -> BatchBill:
    line = BatchBill(batch.batch_id, batch.columns.count, sum(billed), 0, 0)
    if not line.billed:
        return line
    answers = batch.answers()
    shape_numbers = memoryview(batch.columns.shape_numbers).cast("I")
    charged: dict[str, int] = {}
    for index, is_paid in enumerate(billed):
        if not is_paid:
            continue
        usage, searches = answers.usage(index), answers.searches(index)
        shape = batch.columns.shapes[shape_numbers[index]]
        total = tokens.setdefault(shape.model, Tokens())
        total.requests += 1
        total.input_tokens += usage.input_tokens
        total.five_minute_write_tokens += usage.five_minute_write_tokens
        total.one_hour_write_tokens += usage.one_hour_write_tokens
        total.cache_read_tokens += usage.cache_read_tokens
        total.output_tokens += usage.output_tokens
        total.web_search_requests += searches
        charged[shape.model] = charged.get(shape.model, 0) + charge(shape.model, shape.geography, usage, searches)
        line.input_tokens += sum(usage[:4])
        line.output_tokens += usage.output_tokens
    for model, amount in charged.items():
        tokens[model].cost_usd += Decimal(amount) / FEMTODOLLARS
    line.cost_usd = Decimal(sum(charged.values())) / FEMTODOLLARS
    return line
