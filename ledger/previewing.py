"""The preview of a run that is about to send: from its state to what a person should know first."""

from __future__ import annotations

from datetime import date

from ledger.core.chunks import Cut
from ledger.core.costs import BytesPerToken
from ledger.core.costs import bytes_per_token as usual_bytes_per_token
from ledger.core.preview import Preview, preview
from ledger.core.state import RunState
from ledger.plan import plan
from ledger.summary import request_classes


def preview_of(
    state: RunState, today: date, bytes_per_token: BytesPerToken = usual_bytes_per_token
) -> tuple[Preview, list[Cut]]:
    """Return what is to be known before what waits is sent, and how it would be cut into batches.

    Args:
        state: the run, its prices recorded.
        today: the day by which models are retired.
        bytes_per_token: bytes of a request that make a token, by model.
    """
    assert state.prices is not None
    cuts = list(plan(state))
    batches: dict[int, int] = {}
    for cut in cuts:
        priority = state.classes[state.columns.class_id[cut.ranges[0]]].priority
        batches[priority] = batches.get(priority, 0) + 1
    said = preview(
        state.prices,
        request_classes(state),
        batches=batches,
        tier=state.policy.tier,
        queue_requests=state.policy.queue_requests,
        today=today,
        bytes_per_token=bytes_per_token,
    )
    return said, cuts
