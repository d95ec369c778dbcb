"""A simulated Message Batches service: without a key, without a network, and as hostile as is wanted.

    core.py        the service as a fold over records.py: pure, every method is told the time
    envelope.py    a POST body → columns of about 30 bytes a request        params.py, models.py: what is wrong with one
    answers.py     columns → outcomes and result rows                       prose.py: their text
    scripts.py     outcomes that a prompt asks for: [[simulate:refusal]]
    settings.py    speed, limits, the mix of outcomes                       faults.py: what goes wrong, as data
    bill.py        what it charged, and for what twice
    routes.py      HTTP semantics for both fronts                           refusals.py, streams.py: its bodies
    http.py        the front over a socket                                  transport.py: the front inside the process
    journal.py     its memory on disk, whole after SIGKILL                  clocks.py: real or faster time

What the real service does not document (when a batch is listed, how long a lost POST may take to materialise) is a
fault that can be switched on, never an assumption.
"""
