"""A ledger against the service's own reports: whole runs on the simulator, and each reason for a difference by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mixing import LONG, MixedWorld, mixed_requests, params
from running import MINUTE, PRICES, SECOND, START

from ledger.core.charged import CostLine
from ledger.core.costs import cost_report
from ledger.core.prices import PriceTable, Usage
from ledger.core.spending import cost_groups
from ledger.core.state import RunState
from ledger.core.trueup import TrueUp
from ledger.core.units import DAY_US
from ledger.core.usagereport import Others, UsageRow, window_of
from ledger.service.reports import AdminReports
from ledger.service.simulator.faults import Fault
from ledger.service.simulator.records import Traits
from ledger.service.simulator.settings import Reporting
from ledger.truing import compare_with, other_batches

HOUR = 60 * MINUTE
SONNET = "claude-sonnet-4-6"
TEXTS = [(params(SONNET, f"Say {word}."), 0) for word in ("one", "two", "three", "four")]

attributions = st.sampled_from(["created", "processed", "ended"])


class Reports(AdminReports):
    """The reports of a simulated organization."""

    def __init__(self, world: MixedWorld) -> None:
        client = httpx2.Client(transport=world.transport)
        super().__init__("sk-ant-admin-1", base_url="http://simulator", http_client=client, wait=_never)


class Edited(Reports):
    """Reports whose rows a test changes on their way."""

    def __init__(self, world: MixedWorld, **changes: Any) -> None:
        super().__init__(world)
        self._changes = changes

    def usage(self, *asked: Any) -> tuple[UsageRow, ...]:
        return tuple(msgspec.structs.replace(row, **self._changes) for row in super().usage(*asked))


def _never(seconds: float) -> None:
    raise AssertionError(f"waited {seconds} s")


def reconciled(world: MixedWorld, *, later: int = 2 * HOUR, **given: Any) -> TrueUp:
    """Return the comparison some time after the run."""
    world.clock.at += later
    return compared(world, world.state(), world.clock.at, **given)


def compared(
    world: MixedWorld,
    state: RunState,
    now: int,
    *,
    reports: AdminReports | None = None,
    table: PriceTable = PRICES,
    **given: Any,
) -> TrueUp:
    world.clock.at = now
    window = window_of(state, now)
    assert window is not None
    gateway = given.get("gateway", world.gateway())
    return compare_with(reports or Reports(world), gateway, state, table, window, now, ledger="items.ledger")


def ran(*faults: Fault, requests: Any = TEXTS, **reporting: Any) -> MixedWorld:
    world = MixedWorld(requests, *faults, reporting=Reporting(**reporting))
    world.run()
    return world


def codes(found: TrueUp) -> dict[str, bool]:
    return {reason.code: reason.explains for reason in found.reasons}


def matches(found: TrueUp) -> set[str]:
    return {row.match for row in found.rows}


# ── the law ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow])
@given(st.lists(mixed_requests(), min_size=1, max_size=14), attributions, st.booleans())
def test_alone_in_its_workspace_a_ledger_is_what_the_service_reports_for_any_mix(
    requests: list[tuple[dict[str, Any], int]], attributed_to: Any, is_default: bool
) -> None:
    """No token of any kind apart, and the dollars the same up to the rounding of the report's amounts."""
    world = ran(requests=requests, attributed_to=attributed_to, default_workspace=is_default)
    found = reconciled(world)
    assert {row.difference for row in found.rows} <= {0}
    assert (found.verdict, found.reasons, found.exit_code) == ("equal", (), 0)
    billed = world.transport.bill()
    assert found.place == ("absent" if not billed.requests_billed else "default" if is_default else "named")
    if billed.requests_billed:
        total = cost_report(PRICES, cost_groups(world.state())).discount.tokens_paid_usd
        assert found.charges.recorded_usd == total
        assert abs(found.charges.difference_usd or Decimal(0)) <= Decimal("0.0001") / 100 * len(found.charges.rows)
    assert found.charges.verdict in ("confirmed", "unclear", "nothing")
    assert {row.verdict for row in found.charges.rows} <= {"batch", "unclear"}


@pytest.mark.parametrize(("attributed_to", "days"), [("created", 1), ("processed", 2), ("ended", 2)])
def test_a_run_over_midnight_is_compared_on_the_days_that_the_service_chose(attributed_to: Any, days: int) -> None:
    faults = [Fault(operation="create", kind="turnaround", call=call, seconds=call * 60 - 50) for call in (1, 2)]
    world = MixedWorld(TEXTS, *faults, reporting=Reporting(attributed_to=attributed_to), chunk_requests=2)
    world.clock.at += DAY_US - world.clock.at % DAY_US - 30 * SECOND
    world.run()
    found = reconciled(world)
    assert (found.verdict, len(found.charges.days), found.charges.verdict) == ("equal", days, "confirmed")
    assert found.charges.difference_usd is not None


# ── the service counts more ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_of_somebody_else_explains_more() -> None:
    """Of the same model, in the same workspace, at the same time."""
    stranger = Fault(operation="create", kind="stranger", call=1, requests=50)
    requests = [(params("claude-haiku-4-5", "Say one."), 0)]
    found = reconciled(ran(stranger, requests=requests))
    assert (matches(found), found.verdict, found.exit_code) == ({"more"}, "explained", 0)
    assert codes(found) == {"others": True}
    assert "1 batch of somebody else" in found.reasons[0].text
    assert "50 answers" in found.reasons[0].text
    assert found.charges.verdict == "confirmed"
    assert found.charges.recorded_usd is None


def test_work_of_others_with_another_model_is_no_difference() -> None:
    found = reconciled(ran(Fault(operation="create", kind="stranger", call=1, requests=50)))
    assert found.verdict == "equal"
    assert {row.model for row in found.rows} == {row.model for row in found.charges.rows} == {SONNET}


def test_a_batch_of_somebody_else_at_another_time_is_no_difference() -> None:
    world = ran(requests=[(params("claude-haiku-4-5", "Say one."), 0)])
    world.clock.at += HOUR
    world.service.simulator.create_foreign(50, world.clock.at)
    assert reconciled(world).verdict == "equal"


def test_without_the_workspace_s_own_key_more_is_unexplained() -> None:
    stranger = Fault(operation="create", kind="stranger", call=1, requests=50)
    world = ran(stranger, requests=[(params("claude-haiku-4-5", "Say one."), 0)])
    found = reconciled(world, gateway=None)
    assert (found.verdict, found.exit_code) == ("unexplained", 1)
    assert codes(found) == {"others_unknown": False}


def test_more_that_nothing_explains_is_unexplained() -> None:
    """A deleted batch of somebody else: no list shows it any more."""
    world = ran(requests=[(params("claude-haiku-4-5", "Say one."), 0)])
    batch = world.service.simulator.create_foreign(
        50, world.transport.service.simulator.batches.popitem()[1].created_at
    )
    world.clock.at += HOUR
    world.service.simulator.delete(batch.batch_id, world.clock.at)
    found = reconciled(world)
    assert (found.verdict, found.exit_code) == ("unexplained", 1)
    assert codes(found) == {"no_others": False}


def test_a_batch_that_is_not_collected_yet_explains_as_much_as_it_can_have_used() -> None:
    """Its requests have no results here; its usage is reported."""
    world = MixedWorld(TEXTS, Fault(operation="results", kind="refuse", call=1, calls=9999, error="forbidden"))
    world.run()
    found = reconciled(world)
    assert (matches(found), found.verdict, found.exit_code) == ({"more"}, "explained", 0)
    assert codes(found)["uncollected"]
    assert found.reasons[0].text.startswith("4 requests sent in batches whose results are not collected")
    dearer = reconciled(world, reports=Edited(world, usage=Usage(output_tokens=1_000_000)), later=0)
    assert (dearer.verdict, codes(dearer)["uncollected"]) == ("unexplained", False)


def test_refusals_that_cost_nothing_explain_more_where_the_service_counts_them() -> None:
    requests = [*TEXTS, (params(SONNET, "[[simulate:refusal]]"), 0)]
    assert reconciled(ran(requests=requests)).verdict == "equal"
    found = reconciled(ran(requests=requests, counts_unbilled=True))
    assert (matches(found) - {"close"}, found.verdict, codes(found)["free"]) == ({"more"}, "explained", True)


def late_twin(**changes: Any) -> MixedWorld:
    """The answer to a submission was lost, and its batch showed up only after it was sent again."""
    faults = (
        Fault(operation="create", kind="drop", call=1),
        Fault(operation="create", kind="late", call=1, seconds=80),
        Fault(operation="create", kind="turnaround", call=1, seconds=1),
        Fault(operation="create", kind="turnaround", call=2, seconds=300),
    )
    return ran(*faults, **changes)


@pytest.mark.parametrize("attributed_to", ["created", "processed", "ended"])
def test_a_second_batch_that_was_weighed_is_the_ledgers_own(attributed_to: Any) -> None:
    world = late_twin(attributed_to=attributed_to)
    (twin,) = world.state().twins.values()
    assert twin.usage is not None
    assert world.transport.bill().prompts_billed_twice == len(TEXTS)
    assert reconciled(world).verdict == "equal"


def test_a_second_batch_that_was_not_weighed_explains_more() -> None:
    world = late_twin()
    state = world.state()
    ((batch, twin),) = state.twins.items()
    state.twins[batch] = msgspec.structs.replace(twin, usage=None)
    found = compared(world, state, world.clock.at + HOUR)
    assert (matches(found), found.verdict) == ({"more"}, "explained")
    assert codes(found) == {"twins": True, "no_others": False}


def test_a_batch_that_was_taken_for_never_accepted_is_looked_for_in_the_reports() -> None:
    """No list ever showed it: that it was billed is seen here, and nowhere else."""
    faults = (
        Fault(operation="create", kind="drop", call=1),
        Fault(operation="create", kind="slow_list", call=1, seconds=99_999_999),
    )
    found = reconciled(ran(*faults))
    assert (matches(found), found.verdict) == ({"more"}, "explained")
    assert codes(found) == {"absent": True, "no_others": False}


def test_a_ledger_whose_workspace_is_not_known_is_held_against_the_organization() -> None:
    stranger = Fault(operation="create", kind="stranger", call=1, requests=50)
    world = ran(stranger, requests=[(params("claude-haiku-4-5", "Say one."), 0)])
    state = world.state()
    state.workspace = ""
    found = compared(world, state, world.clock.at + HOUR, gateway=None)
    assert (found.place, found.verdict) == ("unknown", "explained")
    assert codes(found) == {"organization": True, "others_unknown": False}


def test_ordinary_calls_explain_more_where_the_service_gave_no_batch_tier() -> None:
    world = ran()
    state = world.state()
    state.spent = {(*key[:3], "standard", *key[4:]): numbers for key, numbers in state.spent.items()}
    reports = Edited(world, tier="standard")
    assert compared(world, state, world.clock.at + HOUR, reports=reports).verdict == "equal"
    (row,) = reports.usage(START, START + DAY_US, "1d")[:1]
    reports = Edited(world, tier="standard", usage=row.usage + Usage(input_tokens=1_000))
    found = compared(world, state, world.clock.at, reports=reports)
    assert (found.verdict, codes(found)) == ("explained", {"ordinary_calls": True, "no_others": False})


# ── the service counts less ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_that_is_behind_explains_less_until_it_is_not() -> None:
    world = ran(lag_seconds=1800)
    early = reconciled(world, later=10 * MINUTE)
    assert (matches(early), early.verdict, early.exit_code) == ({"less"}, "explained", 0)
    assert codes(early) == {"late": True}
    assert early.charges.verdict == "nothing"
    assert reconciled(world, later=HOUR).verdict == "equal"


def test_what_should_be_there_by_now_is_unexplained() -> None:
    found = reconciled(ran(lag_seconds=5 * 3600))
    assert (matches(found), found.verdict, found.exit_code) == ({"less"}, "unexplained", 1)
    assert codes(found) == {"not_late": False}
    assert found.place == "absent"


class WithoutSonnet(Reports):
    """Reports that lack a model."""

    def usage(self, *asked: Any) -> tuple[UsageRow, ...]:
        return tuple(row for row in super().usage(*asked) if row.model != SONNET)


def test_what_explains_more_does_not_explain_less() -> None:
    stranger = Fault(operation="create", kind="stranger", call=1, requests=50)
    world = ran(stranger, requests=[*TEXTS, (params("claude-haiku-4-5", "Say one."), 0)])
    assert reconciled(world).verdict == "explained"
    found = reconciled(world, reports=WithoutSonnet(world))
    assert (matches(found), found.verdict) == ({"more", "less"}, "unexplained")
    assert codes(found) == {"others": True, "not_late": False}


def test_usage_in_another_workspace_explains_less() -> None:
    world = ran()
    found = reconciled(world, reports=Edited(world, workspace="wrkspc_other"))
    assert (found.place, matches(found), found.verdict) == ("absent", {"less"}, "explained")
    assert codes(found) == {"not_late": False, "workspace": True}
    assert "wrkspc_other" in found.reasons[1].text


def test_usage_without_a_workspace_is_that_of_the_default_one() -> None:
    found = reconciled(ran(default_workspace=True))
    assert (found.place, found.verdict, found.charges.verdict) == ("default", "equal", "confirmed")


class WithAnother(Reports):
    """Reports in which another workspace used just as much."""

    def usage(self, *asked: Any) -> tuple[UsageRow, ...]:
        rows = super().usage(*asked)
        return (*rows, *(msgspec.structs.replace(row, workspace="wrkspc_other") for row in rows))

    def costs(self, *asked: Any) -> tuple[CostLine, ...]:
        lines = super().costs(*asked)
        return (*lines, *(msgspec.structs.replace(line, workspace="wrkspc_other") for line in lines))


@pytest.mark.parametrize("is_default", [False, True])
def test_usage_of_other_workspaces_is_not_the_ledgers(is_default: bool) -> None:
    world = ran(default_workspace=is_default)
    found = reconciled(world, reports=WithAnother(world))
    assert (found.verdict, found.charges.verdict) == ("equal", "confirmed")
    assert abs(found.charges.charged_usd - world.transport.bill().cost_usd) < Decimal("0.000001")


def test_usage_with_another_tier_is_named_and_explains_nothing() -> None:
    world = ran()
    found = reconciled(world, reports=Edited(world, tier="standard"))
    assert (matches(found), found.verdict, found.exit_code) == ({"less"}, "unexplained", 1)
    assert codes(found) == {"not_late": False, "tier": False}
    assert "tier standard, which has no batch discount" in found.reasons[1].text


# ── what was charged ─────────────────────────────────────────────────────────────────────────────────────────────────


class WithOrdinaryCalls(Reports):
    """Reports in which the workspace used just as much outside of batches."""

    def usage(self, *asked: Any) -> tuple[UsageRow, ...]:
        rows = super().usage(*asked)
        return (*rows, *(msgspec.structs.replace(row, tier="standard") for row in rows))

    def costs(self, *asked: Any) -> tuple[CostLine, ...]:
        lines = super().costs(*asked)
        doubled = [(line, line.amount_usd * 2) for line in lines]
        return (
            *lines,
            *(msgspec.structs.replace(line, tier="standard", amount_usd=amount) for line, amount in doubled),
        )


def test_ordinary_calls_at_the_standard_price_are_no_batches() -> None:
    world = ran()
    found = reconciled(world, reports=WithOrdinaryCalls(world))
    assert (found.verdict, found.charges.verdict, found.exit_code) == ("equal", "confirmed", 0)
    assert abs(found.charges.charged_usd - world.transport.bill().cost_usd) < Decimal("0.000001")


def test_where_reports_leave_the_step_of_a_price_open_the_ledgers_own_dollars_decide() -> None:
    """The batch price of long prompts lies between the standard prices of short ones and of long ones."""
    texts = [params("claude-haiku-5-5", "Say one."), params("claude-haiku-5-5", "Say it.", prompt=LONG)]
    world = ran(requests=[(text, 0) for text in texts])
    found = reconciled(world)
    rows = {row.kind: row for row in found.charges.rows}
    assert (rows["input"].verdict, rows["input"].of_standard) == ("unclear", None)
    assert rows["input"].batch_usd is not None
    low, high = rows["input"].batch_usd
    assert (high, low < rows["input"].charged_usd < high) == (5 * low, True)
    assert found.charges.verdict == "confirmed"
    assert found.charges.difference_usd == 0


def test_where_the_step_is_open_dollars_above_the_ledgers_own_are_told() -> None:
    """At the standard price of short prompts, which is below the batch price of long ones."""
    requests = [(params("claude-haiku-5-5", "Say it.", prompt=LONG[:220_000]), 0)]
    assert reconciled(ran(requests=requests)).charges.verdict == "confirmed"
    found = reconciled(ran(requests=requests, discounted=False))
    assert {row.verdict for row in found.charges.rows} == {"unclear"}
    assert (found.charges.verdict, found.exit_code) == ("missing", 1)


def test_inference_in_the_us_is_dearer_by_the_recorded_factor() -> None:
    found = reconciled(ran(requests=[(params(SONNET, f"Say {word}.", geo="us"), 0) for word in ("one", "two", "ten")]))
    (output,) = (row for row in found.charges.rows if row.kind == "output")
    assert output.per_million_usd is not None
    assert output.of_standard is not None
    assert output.verdict == "batch"
    assert abs(output.per_million_usd - Decimal("8.25")) < Decimal("0.001")
    assert abs(output.of_standard - Decimal("0.5")) < Decimal("0.0001")


def test_tokens_charged_at_the_standard_price_are_told() -> None:
    found = reconciled(ran(discounted=False))
    assert found.verdict == "equal"
    assert (found.charges.verdict, found.exit_code) == ("missing", 1)
    assert {(row.verdict, row.of_standard) for row in found.charges.rows if row.kind == "output"} == {
        ("standard", Decimal(1))
    }
    assert found.charges.difference_usd is not None
    assert found.charges.recorded_usd is not None
    assert abs(found.charges.difference_usd - found.charges.recorded_usd) < Decimal("0.000001")


def test_the_standard_price_is_told_at_once_and_what_fits_no_price_only_later() -> None:
    """Young reports may not fit each other; the standard price is no accident of that."""
    assert reconciled(ran(discounted=False), later=MINUTE).charges.verdict == "missing"
    world = ran()
    torn = Edited(world, usage=Usage(output_tokens=1_000))
    young = reconciled(world, reports=torn, later=MINUTE)
    assert young.charges.verdict == "early"


def test_what_is_dearer_than_any_price_is_told() -> None:
    world = ran()
    found = reconciled(world, reports=Edited(world, usage=Usage(output_tokens=50)))
    assert {row.verdict for row in found.charges.rows if row.kind == "output"} == {"dearer"}
    assert found.charges.verdict == "missing"


def test_a_model_without_a_recorded_price_is_unknown_and_accuses_nobody() -> None:
    found = reconciled(ran(), table=msgspec.structs.replace(PRICES, models=()))
    assert {row.verdict for row in found.charges.rows} == {"unknown"}
    assert (found.charges.verdict, found.charges.recorded_usd, found.exit_code) == ("unclear", None, 0)


# ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────────


def test_minutes_are_asked_for_a_day_and_hours_for_more() -> None:
    world = ran()
    state = world.state()
    (chunk,) = state.chunks.values()
    window = window_of(state, world.clock.at)
    assert window is not None
    assert (window.width, window.since % MINUTE, window.until % MINUTE) == ("1m", 0, 0)
    assert window.since <= chunk.created_at < chunk.ended_at < window.until
    for days, width in ((20, "1h"), (40, "1d")):
        state.chunks[1] = msgspec.structs.replace(chunk, ended_at=chunk.created_at + days * DAY_US)
        longer = window_of(state, world.clock.at + 90 * DAY_US)
        assert longer is not None
        assert longer.width == width
    state.chunks.clear()
    assert window_of(state, world.clock.at) is None


def test_buckets_between_two_batches_are_left_out() -> None:
    world = ran()
    state = world.state()
    (chunk,) = state.chunks.values()
    later = msgspec.structs.replace(
        chunk, chunk=2, created_at=chunk.created_at + HOUR, ended_at=chunk.ended_at + HOUR, batch="other"
    )
    state.chunks[2] = later
    window = window_of(state, world.clock.at + DAY_US)
    assert window is not None
    assert len(window.spans) == 2
    (row,) = Reports(world).usage(window.since, window.until, "1m")[:1]
    assert window.holds(row)
    between = chunk.created_at + 30 * MINUTE
    assert not window.holds(msgspec.structs.replace(row, starts_at=between, ends_at=between + MINUTE))


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_submission_that_was_given_up_may_have_been_open_for_a_day(is_repeated: bool) -> None:
    """From before it was sent, whether or not it was sent again since, and that ended long ago."""
    world = ran()
    state = world.state()
    (chunk,) = state.chunks.values()
    assert chunk.prepared is not None
    earlier = chunk.created_at - HOUR
    given_up = msgspec.structs.replace(
        chunk, presumed_absent=(msgspec.structs.replace(chunk.prepared, server_date=earlier),)
    )
    if not is_repeated:
        given_up = msgspec.structs.replace(given_up, status="sealed", batch="", created_at=0, sent_at=0, ended_at=0)
    state.chunks[1] = given_up
    window = window_of(state, world.clock.at + 9 * DAY_US)
    assert window is not None
    ((since, until),) = window.spans
    assert since == earlier
    assert until >= earlier + DAY_US


def test_others_are_the_batches_that_were_open_when_ours_were() -> None:
    world = ran()
    state = world.state()
    (ours,) = world.service.simulator.batches.values()
    open_then = Traits(turnaround=10 * SECOND)
    world.service.simulator.create_foreign(3, ours.created_at - HOUR, open_then)
    world.service.simulator.create_foreign(5, ours.created_at - 5 * SECOND, open_then)
    world.service.simulator.create_foreign(7, ours.created_at + HOUR, open_then)
    world.clock.at += 2 * HOUR
    window = window_of(state, world.clock.at)
    assert window is not None
    assert other_batches(world.gateway(), state, window, world.clock.at) == Others(1, 5)
    state.workspace = "wrkspc_elsewhere"
    assert other_batches(world.gateway(), state, window, world.clock.at) is None
