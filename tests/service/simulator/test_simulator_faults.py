"""Faults are data: they say when they happen, and what could never happen is refused."""

from __future__ import annotations

import msgspec
import pytest

from ledger.service.simulator.faults import Fault, Faults, parse_faults


def test_a_scripted_fault_meets_its_calls_and_no_others() -> None:
    faults = Faults(faults=(Fault(operation="create", kind="drop", call=3, calls=2),))
    hit = [number for number in range(1, 9) if faults.matching("create", number, 0)]
    assert hit == [3, 4]
    assert not any(faults.matching("list", number, 0) for number in range(1, 9))


def test_a_rate_hits_its_share_the_same_for_every_run_and_other_calls_for_another_seed() -> None:
    faults = Faults(faults=(Fault(operation="any", kind="refuse", rate=0.25),))

    def hits(seed: int) -> list[int]:
        return [number for number in range(1, 1001) if faults.matching("retrieve", number, seed)]

    assert 200 < len(hits(0)) < 300
    assert hits(0) == hits(0) != hits(1)


def test_several_faults_may_meet_in_one_call() -> None:
    faults = Faults(faults=(Fault(operation="create", kind="drop"), Fault(operation="create", kind="late", seconds=2)))
    assert [fault.kind for fault in faults.matching("create", 1, 0)] == ["drop", "late"]


def test_faults_are_read_from_json_as_they_are_written() -> None:
    faults = Faults(faults=(Fault(operation="list", kind="refuse", error="bad_gateway"),), list_lag_seconds=3)
    assert parse_faults(msgspec.json.encode(faults)) == faults
    assert (
        parse_faults(
            '{"faults": [{"operation": "list", "kind": "refuse", "error": "bad_gateway"}], "list_lag_seconds": 3}'
        )
        == faults
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"faults": [{"operation": "create", "kind": "explode"}]}', "Invalid enum value 'explode'"),
        ('{"falts": []}', "unknown field `falts`"),
        ('{"faults": [{"operation": "list", "kind": "late"}]}', "'late' happens to create, not to 'list'"),
        ('{"faults": [{"operation": "create", "kind": "short"}]}', "'short' happens to results, not to 'create'"),
        ('{"faults": [{"operation": "create", "kind": "refuse", "error": "nope"}]}', "'nope' is no refusal"),
        (
            '{"faults": [{"operation": "create", "kind": "cut", "carried_out": false}]}',
            "'cut' needs a call that is carried out",
        ),
        ('{"faults": [', "truncated"),
    ],
)
def test_a_fault_that_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_faults(text)
