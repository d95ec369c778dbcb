"""The bugs that are planted: each an exact edit of one source file, and the promise that it breaks.

A bug that no test catches is a test that is missing. ``old`` stands in its file exactly once, so that a bug follows
the source as it changes or is noticed to have got lost (``test_planted.py``); ``tests`` is what should catch it, as
narrow as it goes.
"""

from __future__ import annotations

from planted.amending import SECOND_CHANCES
from planted.answering import ANSWERING
from planted.braking import BRAKING
from planted.bug import Bug
from planted.collecting import COLLECTING
from planted.priming import PRIMING
from planted.reconciling import RECONCILING
from planted.reusing import REUSING
from planted.storing import STORING
from planted.submitting import SUBMITTING

BUGS = (*SUBMITTING, *RECONCILING, *COLLECTING, *ANSWERING, *STORING, *BRAKING, *REUSING, *PRIMING, *SECOND_CHANCES)

__all__ = ["BUGS", "Bug"]
