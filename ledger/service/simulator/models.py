"""The models the simulated service knows, and what each allows.

Ids and aliases are those of anthropic SDK 2.12 (``anthropic.types.Model``); limits are those of the model pages of
2026-10. Retired ids are unknown here, as they are to the service: a request for one ends as ``not_found_error``.
"""

from __future__ import annotations

import msgspec


class Model(msgspec.Struct, frozen=True):
    """What the simulated service knows about one model.

    Args:
        name: the resolved id, which results report.
        generation: 45 for 4.5, 46 for 4.6, 50 for 5, 55 for 5.5: what the rules on parameters follow.
        minimum_cached_tokens: a shorter prefix is silently not cached (prompt caching guide, 2026-08).
        max_output_tokens: the ceiling of ``max_tokens`` without a beta.
        extended_output: whether ``output-300k-2026-03-24`` raises it to 300,000 in batches.
        always_thinks: whether ``thinking: disabled`` is refused.
    """

    name: str
    generation: int
    minimum_cached_tokens: int
    max_output_tokens: int = 128_000
    extended_output: bool = False
    always_thinks: bool = False

    @property
    def bytes_per_token(self) -> int:
        """English text: about 4 bytes a token up to 4.6; 4.7 and later count some 30 % more tokens, so about 3."""
        return 4 if self.generation <= 46 else 3


UNKNOWN_MODEL = Model("", 46, 1024)

EXTENDED_OUTPUT_BETA = "output-300k-2026-03-24"
EXTENDED_OUTPUT_TOKENS = 300_000

MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("claude-fable-5-2", 52, 512, always_thinks=True),
        Model("claude-mythos-5-2", 52, 512),
        Model("claude-fable-5-1", 51, 512, always_thinks=True),
        Model("claude-mythos-5-1", 51, 512),
        Model("claude-fable-5", 50, 512, always_thinks=True),
        Model("claude-mythos-5", 50, 512),
        Model("claude-opus-5-5", 55, 512, extended_output=True, always_thinks=True),
        Model("claude-opus-5", 50, 512, extended_output=True),
        Model("claude-opus-4-8", 48, 1024, extended_output=True),
        Model("claude-opus-4-7", 47, 2048, extended_output=True),
        Model("claude-opus-4-6", 46, 4096, extended_output=True),
        Model("claude-opus-4-5-20251101", 45, 4096, 64_000),
        Model("claude-sonnet-5-5", 55, 512, extended_output=True),
        Model("claude-sonnet-5", 50, 1024, extended_output=True),
        Model("claude-sonnet-4-6", 46, 1024, extended_output=True),
        Model("claude-sonnet-4-5-20250929", 45, 1024, 64_000),
        Model("claude-haiku-5-5", 55, 512, extended_output=True),
        Model("claude-haiku-4-5-20251001", 45, 4096, 64_000),
    )
}
# Up to 4.5 a short name is an alias of a dated snapshot, and results report the dated id; from 4.6 on the short name
# is itself the snapshot and no dated id exists (models overview, 2026-10).
ALIASES = {
    "claude-opus-4-5": "claude-opus-4-5-20251101",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}


def find_model(name: object) -> Model | None:
    """Return the model an id or alias means; None if the service does not know it."""
    if not isinstance(name, str):
        return None
    return MODELS.get(ALIASES.get(name, name))
