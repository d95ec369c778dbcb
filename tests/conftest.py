"""Its place makes what the tests share (``running``) importable from every directory below."""

from __future__ import annotations

import os
import signal

import pytest

# What tests answer is nobody's business: no test, and nothing it starts, touches the index of whoever runs them.
os.environ["BATCH_LEDGER_INDEX"] = "off"

# Who starts the tests in the background has them ignore Ctrl-C, and what they start inherits that.
for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)

# Tests of half a minute and more. A worker keeps the last two tests it has: begun last, these kept one of them busy for
# two minutes while the others had nothing left to do.
LONG = ("tests/simulation/", "tests/crash/test_kills.py", "tests/crash/test_reuse_kills.py", "tests/power/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long ones; the others stay in their order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
