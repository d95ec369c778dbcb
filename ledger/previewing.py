"""The preview of a run that is about to send: from its state to what a person should know first."""

from __future__ import annotations

from datetime import date

import msgspec

from ledger.core.chunks import Cut
from ledger.core.costs import BytesPerToken, Estimate, RequestClass, bytes_per_token, estimate
from ledger.core.learning import Learned
from ledger.core.order import order_of, prefix_notices, priming_preview
from ledger.core.preview import Preview, preview
from ledger.core.state import RunState
from ledger.counting import Counted
from ledger.plan import plan
from ledger.summary import request_classes


class Expectations:
    """What is expected of requests: by their bytes and ``max_tokens``, or by better knowledge where there is some.

    Args:
        counted: a sample that the service counted; it is believed over what was learnt.
        learned: what another ledger's answers teach.
    """

    def __init__(self, counted: Counted | None = None, learned: Learned | None = None) -> None:
        self._counted = counted
        self._learned = learned

    @property
    def bytes_per_token(self) -> BytesPerToken:
        """How many bytes of a request make a token, by model."""
        if self._counted is not None:
            return self._counted.bytes_per_token
        return self._learned.bytes_per_token if self._learned is not None else bytes_per_token

    def classes(self, state: RunState) -> list[RequestClass]:
        """Return what waits to be sent, with the length of answers where it was learnt."""
        waiting = request_classes(state)
        return waiting if self._learned is None else self._learned.applied(waiting)

    def estimate(self, state: RunState) -> Estimate:
        """Return what the requests that wait may cost, and what that rests on; prices must be recorded."""
        assert state.prices is not None
        found = estimate(state.prices, self.classes(state), self.bytes_per_token)
        input_line, output_line, *others = found.assumptions
        if self._learned is not None:
            input_line, output_line = self._learned.assumptions()
        if self._counted is not None:
            input_line = self._counted.assumption()
        return msgspec.structs.replace(found, assumptions=(input_line, output_line, *others))


def preview_of(state: RunState, today: date, expectations: Expectations | None = None) -> tuple[Preview, list[Cut]]:
    """Return what is to be known before what waits is sent, and how it would be cut into batches.

    Args:
        state: the run, its prices recorded.
        today: the day by which models are retired.
        expectations: what is expected of the requests; by bytes and ``max_tokens`` by default.
    """
    assert state.prices is not None
    expectations = expectations or Expectations()
    cuts = list(plan(state))
    batches: dict[int, int] = {}
    for cut in cuts:
        priority = state.classes[state.columns.class_id[cut.ranges[0]]].priority
        batches[priority] = batches.get(priority, 0) + 1
    said = preview(
        state.prices,
        expectations.classes(state),
        batches=batches,
        tier=state.policy.tier,
        queue_requests=state.policy.queue_requests,
        today=today,
        bytes_per_token=expectations.bytes_per_token,
    )
    ahead = msgspec.structs.replace(
        said, order=order_of(state), priming=priming_preview(state), notices=(*said.notices, *prefix_notices(state))
    )
    return ahead, cuts
