"""Outcomes scripted by the prompt itself: ``[[simulate:refusal]]`` and its kind.

A test, or a person trying the tool out, writes the fate of a request into its text; no other channel reaches the
simulator through a real client.

    [[simulate:STOP_REASON]]            succeeded with this stop reason: end_turn, stop_sequence, tool_use, max_tokens,
                                        model_context_window_exceeded, pause_turn, refusal (no output, not charged),
                                        refusal_midway (some output, charged)
    [[simulate:errored:KIND]]           errored with this kind, such as overloaded_error
    [[simulate:expired]]  [[simulate:canceled]]
    any of these with :N at the end     only for the first N attempts of this body, then end_turn
    [[simulate:needs:TOKENS]]           an answer of so many tokens: max_tokens when the request's cap is lower
    [[simulate:reject]]                 the whole POST is refused by a 400 that names requests.N
    [[simulate:poison]]                 the whole POST is refused by a 400 that names none
"""

from __future__ import annotations

import re

import msgspec

STOP_REASONS = (
    "end_turn",
    "stop_sequence",
    "tool_use",
    "max_tokens",
    "model_context_window_exceeded",
    "pause_turn",
    "refusal",
    "refusal_midway",  # the same stop_reason on the wire; it has output and is charged
)
# The kinds of an errored item: anthropic SDK 2.12, types/shared/error_object.py.
ERROR_KINDS = (
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
)
OUTCOMES = (*STOP_REASONS, *(f"errored:{kind}" for kind in ERROR_KINDS), "expired", "canceled")
OUTCOME_CODES = {name: code for code, name in enumerate(OUTCOMES)}

MARKER = b"[[simulate:"
_MARKER = re.compile(rb"\[\[simulate:([a-z0-9_:]+)\]\]")


class Script(msgspec.Struct, frozen=True):
    """What a marker asks for.

    Args:
        outcome: a name of ``OUTCOMES``, or ``reject``, ``poison``, ``needs``.
        number: for ``needs`` the tokens; else for how many attempts the outcome holds, 0 for ever.
    """

    outcome: str
    number: int = 0

    def outcome_at(self, attempt: int, max_tokens: int) -> str:
        """Return the name of the outcome at this attempt, counted from 1, under this cap."""
        if self.outcome == "needs":
            return "max_tokens" if max_tokens < self.number else "end_turn"
        if self.number and attempt > self.number:
            return "end_turn"
        return self.outcome


def find_script(raw_params: bytes) -> Script | None:
    """Return the script in the bytes of one request's params; None if there is none.

    Raises:
        ValueError: there is a marker, but none that means anything; a typing error must not pass as a success.
    """
    start = raw_params.find(MARKER)
    if start < 0:
        return None
    match = _MARKER.match(raw_params, start)
    if match is None:
        raise ValueError("a marker of the simulator is not closed or has characters it cannot have")
    text = match[1].decode()
    head, _, tail = text.rpartition(":")
    outcome, number = (head, int(tail)) if head and tail.isdecimal() else (text, 0)
    if outcome == "needs" and number:
        return Script(outcome, number)
    if outcome in ("reject", "poison") or outcome in OUTCOME_CODES:
        return Script(outcome, number)
    raise ValueError(f"[[simulate:{text}]] is no marker the simulator knows")
