"""``python -m ledger``: the command line, which lives above this package and is therefore named, not imported."""

import runpy

runpy.run_module("ledger_cli", run_name="__main__", alter_sys=True)
