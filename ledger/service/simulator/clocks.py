"""The clock of a simulated service: the real one, or one that runs faster, so that 24 hours pass in seconds."""

from __future__ import annotations

import time
from collections.abc import Callable


def real_clock() -> int:
    """Return the microseconds since 1970 UTC of this machine's clock."""
    return time.time_ns() // 1000


def scaled_clock(started_at: int, speed: float, real: Callable[[], int] = real_clock) -> Callable[[], int]:
    """Return a clock that began at an instant and has since run so many times faster than the real one.

    Args:
        started_at: microseconds UTC; kept with the service, so that its time goes on after a restart.
        speed: 1 for real time, 3600 for an hour a second.
        real: microseconds UTC.

    Raises:
        ValueError: the speed is not positive.
    """
    if speed <= 0:
        raise ValueError(f"the speed of a clock is positive, not {speed:g}")
    if speed == 1:
        return real
    return lambda: started_at + round((real() - started_at) * speed)
