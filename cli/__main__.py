"""``python -m ledger_cli``."""

from . import main

main(prog_name="ledger")
