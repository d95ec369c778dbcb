"""Its place makes what the tests share (``running``) importable from every directory below."""

from __future__ import annotations

import os
import signal

# What tests answer is nobody's business: no test, and nothing it starts, touches the index of whoever runs them.
os.environ["BATCH_LEDGER_INDEX"] = "off"

# Who starts the tests in the background has them ignore Ctrl-C, and what they start inherits that.
for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)
