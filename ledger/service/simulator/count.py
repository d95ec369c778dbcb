"""The free counting endpoint: what a prompt would be billed for, before it is sent."""

from __future__ import annotations

import msgspec

from ledger.service.simulator.models import find_model
from ledger.service.simulator.refusals import NAMED_REFUSALS, RefusalError


class _Counted(msgspec.Struct):
    model: str
    messages: list[msgspec.Raw]


_decode = msgspec.json.Decoder(_Counted).decode


def count_tokens(body: bytes) -> int:
    """Return the input tokens of a request: as many as its bytes make with the model it names.

    Raises:
        RefusalError: the body is no such request (400), or its model does not exist (404).
    """
    try:
        asked = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RefusalError(400, f"The request body cannot be counted: {problem}") from problem
    model = find_model(asked.model)
    if model is None:
        raise NAMED_REFUSALS["not_found"]()
    return len(body) // model.bytes_per_token + 1
