"""What the tests of the fold share: states in which chunk 1 has any status, and every event as it would concern it."""

from __future__ import annotations

from typing import Any

import msgspec

from ledger.core import events as e
from ledger.core.chunks import body_size_bytes, nonce_of
from ledger.core.evolve import evolve
from ledger.core.state import ChunkStatus, RunState

SECOND = 1_000_000
NOON = 1_795_348_800 * SECOND
LEDGER_ID = "0123456789abcdef"
POLICY = e.Policy(chunk_requests=3, poll_us=5 * SECOND, settle_us=60 * SECOND)
ITEM_BYTES = 100
SIZE_BYTES = body_size_bytes(3 * ITEM_BYTES, 3)
BATCH = "msgbatch_1"
COUNTS = e.Counts(succeeded=3)

SEALED = e.ChunkSealed(chunk=1, ranges=[0, 3], requests=3, size_bytes=SIZE_BYTES)
PREPARED = e.SubmissionPrepared(
    chunk=1,
    submission=1,
    nonce=nonce_of(LEDGER_ID, 1, 1),
    requests=3,
    size_bytes=SIZE_BYTES,
    server_date=NOON,
    watermark="msgbatch_before",
    watermark_created_at=NOON - SECOND,
)
RELEASED = e.SubmissionReleased(chunk=1, submission=1, digest="d")
UNCERTAIN = e.SubmissionUncertain(chunk=1, submission=1, cause="no answer")
CREATED = e.BatchCreated(chunk=1, submission=1, batch=BATCH, created_at=NOON, expires_at=NOON + 86400 * SECOND, total=3)
ENDED = e.StatusPolled(
    server_date=NOON, changes=(e.BatchSeen(batch=BATCH, status="ended", created_at=NOON, counts=COUNTS),)
)
RESULTS = tuple(e.ResultStored(ordinal=ordinal, chunk=1, digest="d") for ordinal in range(3))
COLLECTED = e.BatchCollected(chunk=1, batch=BATCH, rows=3, counts=COUNTS)
DISSOLVED = e.ChunkDissolved(chunk=1, cause="413")
LOST = e.ResultsLost(chunk=1, batch=BATCH, cause="deleted")

WAY_TO: dict[ChunkStatus, tuple[e.AnyEvent, ...]] = {
    "sealed": (SEALED,),
    "prepared": (SEALED, PREPARED),
    "released": (SEALED, PREPARED, RELEASED),
    "uncertain": (SEALED, PREPARED, RELEASED, UNCERTAIN),
    "submitted": (SEALED, PREPARED, RELEASED, CREATED),
    "ended": (SEALED, PREPARED, RELEASED, CREATED, ENDED),
    "collected": (SEALED, PREPARED, RELEASED, CREATED, ENDED, *RESULTS, COLLECTED),
    "dissolved": (SEALED, DISSOLVED),
    "lost": (SEALED, PREPARED, RELEASED, CREATED, LOST),
}


def opened(requests: int = 6, policy: e.Policy = POLICY, **changes: Any) -> RunState:
    """Return the state of a run whose items are read: nothing is sealed yet."""
    state = RunState()
    tell(
        state,
        e.RunOpened(ledger_id=LEDGER_ID, origin="simulator", tool_version="test"),
        e.WriterOpened(epoch=1, tool_version="test"),
        e.SettingsChanged(policy=msgspec.structs.replace(policy, **changes)),
        e.SourceOpened(source=1, path="/items.jsonl"),
        e.ClassDeclared(class_id=0, model="claude-haiku-4-5", max_tokens=100),
        *(
            e.RequestBuilt(ordinal=number, custom_id=str(number), line=number + 1, size_bytes=ITEM_BYTES, digest="d")
            for number in range(requests)
        ),
        e.IntakeCompleted(
            source=1, lines=requests, bytes_read=requests, digest="d", built=requests, deduplicated=0, rejected=0
        ),
    )
    return state


def tell(state: RunState, *events: e.AnyEvent, at: int = 0) -> RunState:
    """Evolve a state by events, a second apart unless told when."""
    for event in events:
        evolve(state, state.position + 1, at or NOON + (state.position + 1) * SECOND, event)
    return state


def chunk_in(status: ChunkStatus, **changes: Any) -> RunState:
    """Return a state whose chunk 1, of requests 0 to 2, has a status."""
    return tell(opened(**changes), *WAY_TO[status])
