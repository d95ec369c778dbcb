"""Figures to HTML: templates that escape whatever they are given, and a policy that lets the page load nothing."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ledger.core.pace import ERRORS_NORMAL, ERRORS_SYSTEMATIC
from ledger.core.units import MICROSECONDS_PER_SECOND, format_duration, format_usd
from ledger.report.figures import Figures
from ledger.report.incidents import INCIDENTS_AT_MOST, without_directories

UNKNOWN = "unknown"
_CENT = Decimal("0.01")
# Controls, what turns the direction of writing, and halves of characters: shown by their numbers, so that no id can
# make a line read otherwise than it is, or the page no UTF-8.
_UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def render(figures: Figures) -> bytes:
    """Return the page."""
    style = files("ledger.report").joinpath("templates/style.css").read_text(encoding="utf-8")
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    page = _environment().get_template("page.html").render(f=figures, style=Markup(style), policy=policy)  # noqa: S704
    return page.encode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ledger.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_safe,
    )
    environment.filters |= {
        "count": lambda number: f"{number:,}",
        "day": _day,
        "instant": _instant,
        "local": without_directories,
        "moment": _moment,
        "percent": percent,
        "seconds": format_duration,
        "usd": usd,
        "signed": signed,
        "vague": _vague,
    }
    environment.globals |= {
        "incidents_at_most": INCIDENTS_AT_MOST,
        "is_fine": is_fine,
        "normal_errors": percent(float(ERRORS_NORMAL * 100)),
        "systematic_errors": percent(float(ERRORS_SYSTEMATIC * 100)),
    }
    return environment


def _safe(value: object) -> object:
    """Return what is put out: text without characters that a reader cannot see, everything else as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
    return value


def usd(amount: Decimal | None, fine: bool = False) -> str:
    """Return dollars, with all digits down to a millionth where ``fine``; or that the price is not known."""
    if amount is None:
        return UNKNOWN
    sign = "−" if amount < 0 else ""
    return sign + (f"${abs(amount):,.6f}" if fine else format_usd(abs(amount)))


def signed(amount: Decimal, fine: bool = False) -> str:
    """Return dollars with their sign."""
    return usd(amount, fine) if amount < 0 else f"+{usd(amount, fine)}"


def is_fine(amounts: Iterable[Decimal | None]) -> bool:
    """Return whether a column of amounts needs more digits than cents."""
    return any(amount and abs(amount) < _CENT for amount in amounts)


def percent(share: float) -> str:
    """Return a percentage with as many digits as tell something: ``100%``, ``97.3%``, ``0.04%``; never 0% of some."""
    if share >= 99.95 or share == int(share):
        return f"{share:.0f}%" if share >= 100 or share == int(share) else ">99.9%"
    if share >= 10:
        return f"{share:.1f}%"
    return f"{share:.2f}%" if share >= 0.01 else "<0.01%"


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / MICROSECONDS_PER_SECOND, UTC)


def _day(at: int) -> str:
    moment = _moment(at)
    return f"{moment.day} {moment:%B %Y}"


def _instant(at: int) -> str:
    moment = _moment(at)
    return f"{moment.day} {moment:%b %Y, %H:%M:%S}"


def _vague(days: float) -> str:
    """Return the time that is left as a person says it."""
    if days >= 2:
        return f"{int(days)} days"
    return f"{int(days * 24)} hours" if days > 0 else "over"
