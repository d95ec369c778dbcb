"""What became of a receipt that was held against its ledger."""

from __future__ import annotations

from ledger.core.receipt import Verification

_NOTHING = "(nothing)"


def verification_screen(verification: Verification, *, receipt: str) -> str:
    """Return in a line that every line holds, or which does not, with both sides."""
    if verification.ok:
        grown = verification.head_position - verification.position
        since = f"; {grown:,} events have come since" if grown else ""
        return f"{receipt}: every line holds for {verification.ledger} at position {verification.position:,}{since}"
    lines = [f"{receipt} does not hold for {verification.ledger}"]
    for each in verification.differences:
        lines.append(f"{each.line}: {each.why or 'differs'}")
        lines.append(f"  receipt  {each.receipt or _NOTHING}")
        lines.append(f"  ledger   {each.ledger or _NOTHING}")
    return "\n".join(lines)
