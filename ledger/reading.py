"""All that can be read of a ledger, also while a process is at work on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ledger.core import events as e
from ledger.core.costs import By, CostReport, cost_report
from ledger.core.errors import UsageError
from ledger.core.evolve import fold
from ledger.core.pricelist import PriceList, price_list
from ledger.core.prices import PriceTable, quote
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.units import MICROSECONDS_PER_SECOND
from ledger.loading import load_state
from ledger.ports import Recorded
from ledger.store.sqlite import SqliteLog
from ledger.suggesting import did_you_mean
from ledger.summary import Status, Summary, failed_ordinals, status_of, summarize
from ledger.troubles import errors_met

if TYPE_CHECKING:
    from ledger.core.audit import AuditReport
    from ledger.core.dearest import ItemCosts
    from ledger.core.learning import Learned
    from ledger.core.projection import Projection
    from ledger.core.proof import CostProof
    from ledger.core.receipt import Receipt, Verification
    from ledger.core.trueup import TrueUp
    from ledger.core.whatif import WhatIf
    from ledger.diffing import Difference, RunDiff
    from ledger.report.making import Report
    from ledger.showing import ItemStory


class SystemClock:
    """The machine's clocks."""

    def now(self) -> int:
        """Return microseconds since 1970 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Return seconds that only increase."""
        return time.monotonic()


class Reading:
    """A ledger that is only read.

    Args:
        path: the ledger.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._clock = SystemClock()

    def state(self, upto: int | None = None) -> RunState:
        """Return the run's state now, or as it was at a position of the log."""
        with self._reader() as log:
            return load_state(log, upto)

    def follow(self) -> Iterator[RunState]:
        """Yield the run's state whenever it is asked for, for ever: one state, which is changed as the log grows."""
        with self._reader() as log:
            state = load_state(log)
            while True:
                yield state
                rows = log.read(state.position)
                fold(((row.position, row.at, e.decode(row.type_name, row.data)) for row in rows), state)

    def summary(self) -> Summary:
        """Return the summary of the run as it stands, with the exit code that a finished run has."""
        with self._reader() as log:
            return self._summary(log, load_state(log))

    def status(self) -> Status:
        """Return everything about the run as it stands; works while another process is at work on it."""
        from ledger.store.lease import holder

        with self._reader() as log:
            state = load_state(log)
            at_work = holder(self.path.resolve())
            writer = f"process {at_work.pid} on {at_work.host}" if at_work is not None else ""
            summary, now = self._summary(log, state), self._clock.now()
            return status_of(state, summary, now=now, writer=writer, head_verified=log.head_verified)

    def results(
        self,
        *,
        outcomes: Sequence[str] | None = None,
        all: bool = False,  # noqa: A002 - the option's name
        join: bool = False,
    ) -> Iterator[dict[str, Any]]:
        """Yield the answers in the order of the input, as dictionaries (README, "Results")."""
        for line in self.result_lines(outcomes=outcomes, all=all, join=join):
            yield msgspec.json.decode(line)

    def result_lines(
        self,
        *,
        outcomes: Sequence[str] | None = None,
        all: bool = False,  # noqa: A002 - the option's name
        raw: bool = False,
        join: bool = False,
    ) -> Iterator[bytes]:
        """Yield the answers as JSON lines, in the order of the input; ``raw`` yields the service's own lines."""
        from ledger.files.export import answers

        with self._reader() as log:
            yield from answers(log, load_state(log), outcomes=outcomes, all=all, raw=raw, join=join)

    def failed_outcomes(self) -> tuple[str, ...]:
        """Return the outcomes that are neither ok nor accepted by this run (``--accept``)."""
        accepted = self.state().policy.accept
        return tuple(outcome for outcome in e.OUTCOMES if outcome != "ok" and outcome not in accepted)

    def replay(self, position: int | None = None) -> Status:
        """Return how the run stood at a position of the log, folded from zero; at its end by default.

        Raises:
            UsageError: the log has no such position.
            CorruptLogError: an event cannot be read, or the state before it does not allow it.
        """
        from ledger.files.audit import replay

        with self._reader() as log:
            state = replay(log, position)
            summary = self._summary(log, state)
            return status_of(state, summary, now=state.at, writer="", head_verified=log.head_verified)

    def projection(self, position: int | None = None) -> Projection:
        """Return what the log comes to up to a position, in a form that later versions keep; at its end by default.

        Raises:
            UsageError: the log has no such position.
            CorruptLogError: an event cannot be read, or the state before it does not allow it.
        """
        from ledger.core.projection import project
        from ledger.files.audit import replay

        with self._reader() as log:
            return project(replay(log, position))

    def events(self, after: int = 0) -> Iterator[Recorded]:
        """Yield what is recorded behind a position, in order."""
        with self._reader() as log:
            yield from log.read(after)

    def price_table(self) -> PriceTable:
        """Return the prices that this ledger's money is counted with.

        Raises:
            UsageError: none are recorded yet.
        """
        return recorded_prices(self.state(), self.path)

    def prices(self, model: str | None = None) -> PriceList:
        """Return the recorded prices read out: of all models, or of one."""
        return price_list(self.price_table(), today_date(self._clock), ledger=str(self.path), model=model)

    def costs(self, by: By = "model") -> CostReport:
        """Return what was spent, by model, lane, attempt, batch, day or cause, and whether the discount was given."""
        state = self.state()
        return cost_report(recorded_prices(state, self.path), cost_groups(state), by)

    def proof(self, by: By = "model") -> CostProof:
        """Return what was spent, how the estimate became that, how often results were errors, and how fast they came.

        Raises:
            UsageError: no prices are recorded yet.
        """
        from ledger.core.proof import cost_proof

        state = self.state()
        return cost_proof(state, recorded_prices(state, self.path), ledger=str(self.path), by=by)

    def dearest(self, top: int = 20) -> ItemCosts:
        """Return the items that cost most, dearest first.

        Raises:
            UsageError: no prices are recorded yet, or one of them is not known.
        """
        from ledger.accounts import dearest_items

        with self._reader() as log:
            state = load_state(log)
            return dearest_items(log, state, recorded_prices(state, self.path), top)

    def show(self, custom_id: str) -> ItemStory:
        """Return the whole story of one item: its request, where it was sent, what came back, and what it cost.

        Args:
            custom_id: your id, or the id under which the service's console shows the item.

        Raises:
            UsageError: there is no such item.
        """
        from ledger.showing import show_item

        with self._reader() as log:
            return show_item(log, load_state(log), custom_id, str(self.path))

    def diff(
        self, other: Reading, *, top: int = 20, write: Callable[[Iterator[Difference]], Any] | None = None
    ) -> RunDiff:
        """Return how this run and another differ, item by item: outcomes, answers, costs.

        Args:
            other: the other run.
            top: how many differences are kept, in the order of this run.
            write: is given every difference, in the order of their custom_ids, and must take them all.
        """
        from ledger.diffing import diff_runs

        with self._reader() as mine, other._reader() as theirs:
            sides = ((mine, load_state(mine)), (theirs, load_state(theirs)))
            return diff_runs(*sides, (str(self.path), str(other.path)), top=top, write=write)

    def what_if(self, models: Sequence[str]) -> tuple[WhatIf, ...]:
        """Return what the run would have cost with each of some models; tokens are scaled, since tokenizers differ.

        Raises:
            UsageError: no prices are recorded yet, or none for one of the models.
        """
        from ledger.accounts import with_other_models

        with self._reader() as log:
            state = load_state(log)
            table = recorded_prices(state, self.path)
            paid_usd = cost_report(table, cost_groups(state, ())).total.cost_usd  # second batches are left out
            return with_other_models(log, state, table, models, paid_usd)

    def true_up(self, *, admin_key_file: str | None = None, base_url: str | None = None) -> TrueUp:
        """Return how this ledger compares with the service's own usage and cost reports.

        Args:
            admin_key_file: a file that holds an Admin key; ``ANTHROPIC_ADMIN_API_KEY`` when None.
            base_url: the service; ``ANTHROPIC_BASE_URL``, or api.anthropic.com, when None.

        Raises:
            UsageError: there is no Admin key, no batch yet, or the ledger belongs to another service.
            ServiceError: the service does not answer, or refuses the key.
        """
        from ledger.truing import compare

        state = self.state()
        table = recorded_prices(state, self.path)
        return compare(self.path, state, table, admin_key_file=admin_key_file, base_url=base_url)

    def audit(self, expect_head: str | None = None) -> AuditReport:
        """Return the proof, or what is wrong: the log is folded from zero and compared with all that it promises."""
        from ledger.files.audit import audit

        with self._reader() as log:
            return audit(log, expect_head=expect_head)

    def learned(self) -> Learned:
        """Return what this ledger's answers teach about those of the next run (``learn_from`` of ``check``).

        Raises:
            UsageError: it has too few answers of any model.
        """
        from ledger.core.learning import ANSWERS_MIN, learn

        learned = learn(self.state(), str(self.path))
        if not learned.models:
            raise UsageError(
                f"there is nothing to learn from {self.path}",
                why=f"no model has {ANSWERS_MIN} answers in it",
                next="leave --learn-from out",
            )
        return learned

    def report(self, *, with_audit: bool | None = None, with_examples: bool = True) -> Report:
        """Return one self-contained HTML page about the run (docs/report.md).

        Args:
            with_audit: audit all of the ledger for the page; by default where it has up to 50,000 events.
            with_examples: show custom_ids, and words of answers and errors.

        Raises:
            UsageError: there is no such ledger.
            CorruptLogError: an event or a payload cannot be read.
        """
        from ledger.report.making import make_report

        return make_report(self.path, with_audit=with_audit, with_examples=with_examples)

    def receipt(self) -> Receipt:
        """Return the ten lines that prove later what the run came to until now.

        Raises:
            UsageError: no prices are recorded yet.
            CorruptLogError: an event is not the one that was written.
        """
        from ledger.files.receipt import receipt_of

        with self._reader() as log:
            return receipt_of(log)

    def verify(self, receipt: str, name: str = "the receipt") -> Verification:
        """Return whether every line of a receipt holds for this ledger, at the position that the receipt names.

        Args:
            receipt: its text.
            name: what it is called where it is none.

        Raises:
            UsageError: it is no receipt.
        """
        from ledger.core.receipt import read_receipt
        from ledger.files.receipt import verify_receipt

        read = read_receipt(receipt, name)
        with self._reader() as log:
            return verify_receipt(log, read, str(self.path))

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _reader(self) -> SqliteLog:
        require_file(self.path)
        return SqliteLog.open_reader(self.path)

    def _summary(self, log: SqliteLog, state: RunState) -> Summary:
        code = state.finished.exit_code if state.finished is not None and not state.unfinished else 7
        stuck = state.pauses or any(chunk.hold for chunk in state.live_chunks())
        code = 3 if stuck and state.unfinished else code
        failed = tuple(custom_ids(log, failed_ordinals(state)))
        errors = errors_met(log, state)
        return summarize(state, ledger=str(self.path), exit_code=code, failed_ids=failed, errors=errors)


def require_file(path: Path) -> None:
    """Make sure that there is a ledger.

    Raises:
        UsageError: there is none.
    """
    if not path.exists():
        meant = did_you_mean(path, ".ledger")
        raise UsageError(f"there is no ledger {path}", next=f"{meant}ledger run ITEMS --ledger {path}")


def custom_ids(log: SqliteLog, wanted: Sequence[int]) -> Iterator[str]:
    """Yield the custom_ids of some requests."""
    return (payload.custom_id for payload in log.request_payloads(wanted))


def recorded_prices(state: RunState, path: Path) -> PriceTable:
    """Return the prices in the log.

    Raises:
        UsageError: there are none yet.
    """
    if state.prices is None:
        raise UsageError("no prices are recorded yet: nothing was sent", next=f"ledger resume {path}")
    return state.prices


def prices_today() -> PriceTable:
    """Return the prices that a run would record if it began today."""
    return quote(today(SystemClock()))


def price_list_today(model: str | None = None) -> PriceList:
    """Return today's prices read out: of all models, or of one.

    Raises:
        UsageError: there is no price for this model.
    """
    return price_list(prices_today(), today_date(SystemClock()), model=model)


def today_date(clock: SystemClock) -> date:
    """Return the day, UTC."""
    return date.fromisoformat(today(clock))


def today(clock: SystemClock) -> str:
    """Return the day, UTC, in ISO format."""
    return datetime.fromtimestamp(clock.now() / MICROSECONDS_PER_SECOND, UTC).date().isoformat()
