"""What may yet be billed, and whether the next batch still fits into what the whole ledger may cost.

A budget is kept by knowing, before a batch is submitted, the most it can cost. *Committed* is what has been billed for
certain (recorded usage × recorded prices) and the most that may be billed for everything else that was let go:
batches that are on their way or not collected yet, second batches (twins), and rows that the service may have billed
without telling us (lost, missing, of an unknown type). A submission begins only where committed and its own bound
together stay within the budget; so the bill does, too.

The bound of a request is the number of its bytes over ``BYTES_PER_TOKEN_WORST`` as input, at the dearest price that its
class allows (written to the cache for an hour where it marks a prompt, in the dearest region where it names none, on
the dearest price step that so many tokens can reach), and ``max_tokens`` of output, at batch price. It is no bound for
what costs money without bytes in the request: images, documents and files given by URL or id, tools that the service
runs (their searches, and what they read), and the prompt that the service adds for tools. Nor for a submission that was
given up and turns out to have been accepted after the settle time: guarantee 1 has the same conditions. A collected
batch that did cost more than its bound raises, by the same factor, every bound from then on.

With the mode ``expected`` a batch counts with what the preview expects of it, times what earlier batches of its model
cost in relation to theirs. That lets more go at once, and may end above the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import ROUND_UP, Context, Decimal
from typing import NamedTuple

from ledger.core import events as e
from ledger.core.columns import OrdinalQueue, ordinals, pairs
from ledger.core.costs import bytes_per_token, expected_output_tokens
from ledger.core.prices import EXACT, GEO_US, TIER_BATCH, PriceTable, Rates, Usage, rates, steps_of_model, undated
from ledger.core.state import Chunk, RunState
from ledger.core.units import format_usd

BYTES_PER_TOKEN_WORST = 2
"""The densest text that is plausible: base64, digits, scripts other than Latin. English has about four, or three."""
CALIBRATION_ROWS = 20
"""Billed results of a model from which on they say more about the next ones than the preview does."""
SMALLEST_SHARE = 10
"""A batch that is cut short by the budget is worth sending from a tenth of its size on."""

_ROUNDED = Context(prec=28, rounding=ROUND_UP)
_CENT = Decimal("0.01")
_NOTHING = Decimal(0)
_ONE = Decimal(1)


class _Step(NamedTuple):
    """What a request costs at most from one size on: so much a byte, and so much besides."""

    above_bytes: int
    per_byte: Decimal
    per_request: Decimal


class _Expected(NamedTuple):
    """How many requests of a model, and what is expected of them."""

    requests: int
    usd: Decimal


class Exposure:
    """What requests, chunks and the whole ledger may cost; a memo beside the state, of nothing that is not in it.

    Args:
        table: the recorded prices.
    """

    def __init__(self, table: PriceTable) -> None:
        self.table = table
        self.excess = _ONE
        """How far the worst collected batch exceeded its bound; 1 as long as none did."""
        self._worst: dict[int, tuple[_Step, ...]] = {}
        self._expectation: dict[int, _Step | None] = {}
        self._bounds: dict[int, Decimal | None] = {}
        self._expected: dict[int, dict[str, _Expected]] = {}
        self._spent: dict[int, Decimal] = {}
        self._spent_usd = _NOTHING
        self._measured: dict[str, tuple[int, Decimal, Decimal]] = {}
        self._unmetered = (0, _NOTHING)
        self.front: tuple[object, Decimal | None, dict[str, _Expected]] = (None, None, {})

    # ── what requests may cost ──────────────────────────────────────────────────────────────────────────────────

    def bound_usd(self, state: RunState, ranges: Iterable[tuple[int, int]]) -> Decimal | None:
        """Return the bound of requests, by (start, end) of ordinals, before any excess; None: a price is unknown."""
        columns, total = state.columns, _NOTHING
        for start, end in ranges:
            classes = set(columns.class_id[start:end])
            steps = self._steps(state, classes.pop()) if len(classes) == 1 else ()
            if len(steps) == 1:  # all alike, as mostly: their bytes can be summed without looking at each
                total = EXACT.fma(steps[0].per_byte, sum(columns.size_bytes[start:end]), total)
                total = EXACT.fma(steps[0].per_request, end - start, total)
                continue
            for ordinal in range(start, end):
                one = self.request_usd(state, ordinal)
                if one is None:
                    return None
                total = EXACT.add(total, one)
        return total

    def request_usd(self, state: RunState, ordinal: int) -> Decimal | None:
        """Return the bound of a request, before any excess; None where its price is unknown."""
        size_bytes = state.columns.size_bytes[ordinal]
        usd: Decimal | None = None
        for step in self._steps(state, state.columns.class_id[ordinal]):
            if size_bytes > step.above_bytes or usd is None:
                reached = EXACT.fma(step.per_byte, size_bytes, step.per_request)
                usd = reached if usd is None else max(usd, reached)
        return usd

    def expected_usd(self, state: RunState, ranges: Iterable[tuple[int, int]]) -> dict[str, _Expected]:
        """Return what the preview expects of requests, by model; requests of an unknown price are left out."""
        columns = state.columns
        found: dict[str, _Expected] = {}
        for start, end in ranges:
            classes = set(columns.class_id[start:end])
            alike = len(classes) == 1
            for first, last in [(start, end)] if alike else [(o, o + 1) for o in range(start, end)]:
                class_id = columns.class_id[first]
                step = self._expecting(state, class_id)
                if step is not None:
                    model = undated(state.classes[class_id].model)
                    before = found.get(model, _Expected(0, _NOTHING))
                    usd = EXACT.fma(step.per_byte, sum(columns.size_bytes[first:last]), before.usd)
                    usd = EXACT.fma(step.per_request, last - first, usd)
                    found[model] = _Expected(before.requests + last - first, usd)
        return found

    def _steps(self, state: RunState, class_id: int) -> tuple[_Step, ...]:
        """Return the steps of a class, the base first; none where its price is unknown."""
        known = self._worst.get(class_id)
        if known is None:
            one = state.classes[class_id]
            known = self._worst[class_id] = tuple(
                _Step(
                    row.above_prompt_tokens * BYTES_PER_TOKEN_WORST,
                    EXACT.multiply(_dearest_input(rated, cached=one.cached), _ONE / BYTES_PER_TOKEN_WORST),
                    # one token more, for a request of an odd number of bytes
                    EXACT.fma(rated.output, one.max_tokens, _dearest_input(rated, cached=one.cached)),
                )
                for row in steps_of_model(self.table, one.model)
                if (rated := rates(self.table, one.model, row.step, geo=one.geo or GEO_US)) is not None
            )
        return known

    def _expecting(self, state: RunState, class_id: int) -> _Step | None:
        if class_id not in self._expectation:
            one = state.classes[class_id]
            rated = rates(self.table, one.model, "", geo=one.geo)
            step = None
            if rated is not None:
                per_byte = _ROUNDED.divide(rated.input, Decimal(bytes_per_token(one.model)))
                output = min(expected_output_tokens(one.max_tokens), one.max_tokens)
                step = _Step(0, per_byte, EXACT.multiply(rated.output, output))
            self._expectation[class_id] = step
        return self._expectation[class_id]

    def chunk_bound_usd(self, state: RunState, chunk: Chunk) -> Decimal | None:
        """Return the most that a submission of a chunk can cost."""
        if chunk.chunk not in self._bounds:
            self._bounds[chunk.chunk] = self.bound_usd(state, pairs(chunk.ranges))
        bound = self._bounds[chunk.chunk]
        return None if bound is None else EXACT.multiply(bound, self.excess)

    def chunk_expected_usd(self, state: RunState, chunk: Chunk) -> Decimal:
        """Return what a submission of a chunk is expected to cost, by what came back so far."""
        return self.calibrated(self._expected_of(state, chunk))

    def _expected_of(self, state: RunState, chunk: Chunk) -> dict[str, _Expected]:
        found = self._expected.get(chunk.chunk)
        if found is None:
            found = self._expected[chunk.chunk] = self.expected_usd(state, pairs(chunk.ranges))
        return found

    def calibrated(self, expected: dict[str, _Expected], rows_at_least: int = CALIBRATION_ROWS) -> Decimal:
        """Return an expectation, corrected by what billed results cost in relation to theirs.

        Args:
            expected: by model.
            rows_at_least: billed results of a model below which the expectation stays as it is.
        """
        total = _NOTHING
        for model, one in expected.items():
            rows, actual, foreseen = self._measured.get(model, (0, _NOTHING, _NOTHING))
            ratio = _ROUNDED.divide(actual, foreseen) if rows >= rows_at_least and foreseen else _ONE
            total = EXACT.fma(one.usd, ratio, total)
        return total

    # ── what was, and may have been, billed ─────────────────────────────────────────────────────────────────────

    def spent_usd(self, state: RunState) -> Decimal:
        """Return what the results of all chunks cost that are done; the rest still counts with its bound."""
        done = len(state.by_status["collected"]) + len(state.by_status["lost"])
        if done != len(self._spent):
            self._settle(state)
        return self._spent_usd

    def _settle(self, state: RunState) -> None:
        fresh = {chunk for status in ("collected", "lost") for chunk in state.by_status[status]} - self._spent.keys()
        usd: dict[int, Decimal | None] = dict.fromkeys(sorted(fresh), _NOTHING)
        billed: dict[tuple[int, str], tuple[int, Decimal]] = {}
        for (chunk, _, model, tier, geo, step, _, is_billed), numbers in state.spent.items():
            if chunk not in usd or not is_billed:
                continue
            rated = rates(self.table, model, step, batch=tier in (TIER_BATCH, ""), geo=geo)
            before = usd[chunk]
            if rated is None or before is None:
                usd[chunk] = None
                continue
            cost = rated.usd(Usage(*numbers[1:]))
            usd[chunk] = EXACT.add(before, cost)
            rows, sofar = billed.get((chunk, undated(model)), (0, _NOTHING))
            billed[chunk, undated(model)] = (rows + numbers[0], EXACT.add(sofar, cost))
        for number, cost_or_none in usd.items():
            chunk_ = state.chunks[number]
            bound = self.chunk_bound_usd(state, chunk_)
            if cost_or_none is not None and bound is not None and cost_or_none > bound:
                self.excess = _ROUNDED.multiply(self.excess, _ROUNDED.divide(cost_or_none, bound))
            self._spent[number] = (bound or _NOTHING) if cost_or_none is None else cost_or_none
            self._spent_usd = EXACT.add(self._spent_usd, self._spent[number])
        for (number, model), (rows, cost) in billed.items():
            self._measure(state, number, model, rows, cost)

    def _measure(self, state: RunState, number: int, model: str, rows: int, cost: Decimal) -> None:
        foreseen = self._expected_of(state, state.chunks[number]).get(model)
        if foreseen is not None and foreseen.requests:
            share = _ROUNDED.divide(EXACT.multiply(foreseen.usd, rows), Decimal(foreseen.requests))
            before = self._measured.get(model, (0, _NOTHING, _NOTHING))
            self._measured[model] = (before[0] + rows, EXACT.add(before[1], cost), EXACT.add(before[2], share))

    def unmetered_usd(self, state: RunState) -> Decimal:
        """Return the most that rows cost of which nobody said what they cost."""
        seen, usd = self._unmetered
        if seen != len(state.unmetered):
            more = self.bound_usd(state, pairs(state.unmetered[seen:]))
            usd = EXACT.add(usd, more or _NOTHING)
            self._unmetered = (len(state.unmetered), usd)
        return EXACT.multiply(usd, self.excess)

    def twins_usd(self, state: RunState) -> Decimal:
        """Return what second batches cost: what their rows proved, or else the most they can have cost."""
        total = _NOTHING
        for twin in (*state.twins.values(), *state.acknowledged.values()):
            chunk = state.chunks[twin.chunk]
            inspected = state.inspected.get(twin.batch)
            if twin.usage is not None:
                total = EXACT.add(total, self._weighed(state, chunk, twin.usage))
            elif inspected is None or inspected.verdict != "foreign":
                total = EXACT.add(total, self.chunk_bound_usd(state, chunk) or _NOTHING)
        return total

    def _weighed(self, state: RunState, chunk: Chunk, usage: Usage) -> Decimal:
        """Price the usage of a twin, whose rows are known as a sum only, at the dearest of its classes."""
        dearest = _NOTHING
        for class_id in {state.columns.class_id[ordinal] for ordinal in ordinals(chunk.ranges)}:
            one = state.classes[class_id]
            for row in steps_of_model(self.table, one.model):
                rated = rates(self.table, one.model, row.step, geo=one.geo or GEO_US)
                dearest = dearest if rated is None else max(dearest, rated.usd(usage))
        return dearest


def _dearest_input(rated: Rates, *, cached: bool) -> Decimal:
    return max(rated.input, rated.cache_write_1h, rated.cache_write_5m) if cached else rated.input


def exposure_of(state: RunState) -> Exposure | None:
    """Return the memo of a state, begun anew when prices are; None before any are recorded."""
    known = state.exposure
    if isinstance(known, Exposure) and known.table is state.prices:
        return known
    state.exposure = fresh = Exposure(state.prices) if state.prices is not None else None
    return fresh


# ── a budget ────────────────────────────────────────────────────────────────────────────────────────────────────


class Purse:
    """What is left of a budget, at one instant.

    Args:
        state: the run; its budget has a limit.
        budget: that budget.
    """

    def __init__(self, state: RunState, budget: e.BudgetSet) -> None:
        self._state = state
        self._exposure = exposure_of(state)
        self._is_worst = budget.mode == "worst"
        self.max_usd = Decimal(budget.max_usd)
        self.spent_usd = self.open_usd = _NOTHING
        if self._exposure is not None:
            exposure = self._exposure
            self.spent_usd = exposure.spent_usd(state)
            self.open_usd = EXACT.add(exposure.unmetered_usd(state), exposure.twins_usd(state))
            for chunk in state.chunks_in("prepared", "released", "uncertain", "submitted", "ended"):
                self.open_usd = EXACT.add(self.open_usd, self.chunk_usd(chunk) or _NOTHING)

    @property
    def room_usd(self) -> Decimal:
        """What may still be committed; below zero where too much is."""
        return EXACT.subtract(self.max_usd, EXACT.add(self.spent_usd, self.open_usd))

    def chunk_usd(self, chunk: Chunk) -> Decimal | None:
        """Return what a submission of a chunk counts with; None where a price is unknown."""
        if self._exposure is None:
            return None
        bound = self._exposure.chunk_bound_usd(self._state, chunk)
        if self._is_worst or bound is None:
            return bound
        return min(bound, self._exposure.chunk_expected_usd(self._state, chunk))

    def holds(self, chunk: Chunk) -> bool:
        """Return whether a submission of a chunk fits into what is left."""
        usd = self.chunk_usd(chunk)
        return usd is not None and usd <= self.room_usd

    def take(self, chunk: Chunk) -> bool:
        """Commit what a chunk may cost, if it fits; return whether it did."""
        usd = self.chunk_usd(chunk)
        if usd is None or usd > self.room_usd:
            return False
        self.open_usd = EXACT.add(self.open_usd, usd)
        return True

    def front_usd(self, key: object, ranges: Callable[[], Iterable[int]]) -> Decimal | None:
        """Return what the requests count with that would be sealed next; None where a price is unknown.

        Args:
            key: equal as long as these would be the same requests.
            ranges: which they are, as flat ranges; asked only where they are not known from before.
        """
        exposure = self._exposure
        if exposure is None:
            return None
        if exposure.front[0] != key:
            flat = list(ranges())
            exposure.front = (
                key,
                exposure.bound_usd(self._state, pairs(flat)),
                exposure.expected_usd(self._state, pairs(flat)),
            )
        _, raw, expected = exposure.front
        if raw is None:
            return None
        worst = EXACT.multiply(raw, exposure.excess)
        return worst if self._is_worst else min(worst, exposure.calibrated(expected))

    def reserve(self, chunks: Iterable[Chunk]) -> None:
        """Commit what chunks may cost that are sealed and will be sent."""
        for chunk in chunks:
            self.open_usd = EXACT.add(self.open_usd, self.chunk_usd(chunk) or _NOTHING)

    def fitting(self, members: Iterable[int], at_most: int) -> int:
        """Return how many requests, from the first on, fit together into what is left."""
        exposure, room, count = self._exposure, self.room_usd, 0
        if exposure is None:
            return 0
        for ordinal in members:
            if count == at_most:
                break
            usd = self._request_usd(exposure, ordinal)
            if usd is None or usd > room:
                break
            room = EXACT.subtract(room, usd)
            count += 1
        return count

    def _request_usd(self, exposure: Exposure, ordinal: int) -> Decimal | None:
        worst = exposure.request_usd(self._state, ordinal)
        if worst is None:
            return None
        worst = EXACT.multiply(worst, exposure.excess)
        if self._is_worst:
            return worst
        return min(worst, exposure.calibrated(exposure.expected_usd(self._state, [(ordinal, ordinal + 1)])))

    def rest_usd(self) -> tuple[Decimal | None, Decimal]:
        """Return what all that was not let go yet may cost at most (None: unknown), and what is expected of it."""
        exposure, state = self._exposure, self._state
        if exposure is None:
            return None, _NOTHING
        waiting = [pair for chunk in state.chunks_in("sealed") for pair in pairs(chunk.ranges)]
        for lanes in (state.fresh, state.retries):
            for queue in lanes.values():
                waiting += list(queue)
        worst = exposure.bound_usd(state, waiting)
        expected = exposure.calibrated(exposure.expected_usd(state, waiting))
        return (None if worst is None else EXACT.multiply(worst, exposure.excess)), expected


def open_purse(state: RunState) -> Purse | None:
    """Return what is left of the budget, or None where there is no limit."""
    budget = state.budget
    return Purse(state, budget) if budget is not None and budget.max_usd else None


def affordable(state: RunState, chunk: Chunk) -> bool:
    """Return whether a submission of a chunk may begin now: there is no limit, or it fits."""
    purse = open_purse(state)
    return purse is None or purse.holds(chunk)


def worth_sealing(queue: OrdinalQueue, max_requests: int, fitting: int) -> bool:
    """Return whether a chunk that is cut short by the budget is worth a batch of its own."""
    return fitting > 0 and fitting * SMALLEST_SHARE >= min(queue.size, max_requests)


def budget_pause(purse: Purse, next_usd: Decimal | None) -> e.RunPaused:
    """Return the pause of a run whose next batch does not fit, with what raising the budget would buy.

    Args:
        purse: what is left.
        next_usd: what the smallest next batch counts with; None where a price is unknown.
    """
    worst, expected = purse.rest_usd()
    if next_usd is None or worst is None:
        return e.RunPaused(
            reason="budget",
            detail="a budget cannot be kept: the price of a model is not known",
            lift="ledger resume --prices FILE (with its price), or --max-cost none",
        )
    committed = EXACT.add(purse.spent_usd, purse.open_usd)
    enough = cents_up(EXACT.add(committed, max(worst, next_usd)))
    for_next = cents_up(EXACT.add(committed, next_usd))
    return e.RunPaused(
        reason="budget",
        detail=(
            f"{format_usd(purse.spent_usd)} of {format_usd(purse.max_usd)} are spent"
            + (f", {format_usd(purse.open_usd)} more may be" if purse.open_usd else "")
            + f"; the next batch may cost {format_usd(next_usd)} (--max-cost {for_next}), all that is left at most "
            f"{format_usd(worst)}, about {format_usd(expected)} as it looks now"
        ),
        lift=f"ledger resume --max-cost {enough}",
    )


def budget_wait(purse: Purse, next_usd: Decimal | None) -> str:
    """Return why the next batch waits for the results of those that are on their way."""
    needs = f" and the next batch may cost {format_usd(next_usd)}" if next_usd is not None else ""
    return (
        f"{format_usd(purse.spent_usd)} of {format_usd(purse.max_usd)} are spent, {format_usd(purse.open_usd)} more "
        f"may be{needs}: it waits until it is known what they cost"
    )


def cents_up(usd: Decimal) -> Decimal:
    """Return an amount rounded up to whole cents."""
    return usd.quantize(_CENT, rounding=ROUND_UP, context=Context(prec=40))
