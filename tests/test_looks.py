"""How far a look at the workspace goes, what makes it evidence, and whose batches it may find there."""

from __future__ import annotations

import httpx2
import pytest
from running import LEDGER_ID, MINUTE, World, spool

from ledger import perform
from ledger.core import events as e
from ledger.core.answers import row_wire_id
from ledger.core.chunks import body, nonce_of, parse_wire_id, wire_id
from ledger.core.looking import Looked
from ledger.perform import LookJob, Tools, look
from ledger.service.gateway import AnthropicGateway
from ledger.service.simulator.faults import Fault

PARAMS = b'{"model":"claude-haiku-4-5","max_tokens":100,"messages":[{"role":"user","content":"Hi."}]}'
FOUR = [f"Say {number}." for number in range(4)]


def another_ledgers_batch(gateway: AnthropicGateway, requests: int) -> str:
    """Make a batch as another ledger would, with the same ordinals, and return its id."""
    nonce = nonce_of("fedcba9876543210", 1, 1)
    data = b"".join(body((wire_id(number, nonce, f"item {number}"), PARAMS) for number in range(requests)))
    return gateway.submit(iter([data]), len(data), (), lambda _: None).batch.batch


def looked(world: World, horizon: int = 0, controls: tuple[str, ...] = (), workspace: str = "") -> Looked:
    def no_events(*_: object) -> None:
        raise AssertionError("a look has nothing to say in between")

    tools = Tools(world.gateway(), lambda: pytest.fail("a look reads no log"), spool, no_events)
    job = LookJob(1, frozenset(), evidence=True, horizon=horizon, controls=controls, workspace=workspace)
    came = look(job, tools)
    assert isinstance(came, Looked)
    return came


def workspace_of(batches: int) -> tuple[World, list[str]]:
    """Return a world with so many batches, a minute apart, oldest first."""
    world = World(FOUR)
    made = []
    for _ in range(batches):
        world.clock.at += MINUTE
        made.append(another_ledgers_batch(world.gateway(), 1))
    return world, made


def test_a_look_pages_back_to_its_horizon_and_is_complete_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    world, made = workspace_of(7)
    monkeypatch.setattr(perform, "PAGE_BATCHES", 2)
    horizon = world.gateway().retrieve(made[3]).batch.created_at
    found = looked(world, horizon)
    assert [seen.batch for seen in found.batches] == made[:0:-1]
    assert found.complete
    assert [seen.batch for seen in looked(world).batches] == made[::-1]
    monkeypatch.setattr(perform, "PAGES_AT_MOST", 2)
    assert not looked(world, horizon).complete


def test_a_look_is_evidence_only_where_a_batch_that_we_know_can_be_had() -> None:
    world, made = workspace_of(2)
    assert looked(world, controls=(made[0],)).complete
    assert not looked(world, controls=("msgbatch_of_another_workspace",)).complete


def test_where_the_answers_name_our_workspace_no_batch_of_ours_need_be_left_in_it() -> None:
    """Who deletes what was collected has no batch that could be had; nothing in doubt may be held for that."""
    world, _ = workspace_of(2)
    ours = world.service.workspace_id
    assert looked(world, controls=("msgbatch_deleted",), workspace=ours).complete
    assert not looked(world, controls=("msgbatch_deleted",), workspace="wrkspc_another").complete


def test_a_batch_whose_answer_was_lost_is_found_behind_many_newer_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perform, "PAGE_BATCHES", 2)
    strangers = [Fault(operation="create", call=1, kind="stranger", requests=50, seconds=n + 1) for n in range(5)]
    world = World(FOUR, Fault(operation="create", call=1, kind="drop"), *strangers)
    assert world.run() == 0
    assert world.own_batches() == 1
    assert len(world.events(e.BatchAdopted)) == 1


class Crossing(httpx2.BaseTransport):
    """The first submission is lost on its way; at that moment another ledger's of the same size is accepted."""

    def __init__(self, world: World) -> None:
        self.strange = ""
        self._world = world

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST" and not self.strange:
            assert isinstance(request.stream, httpx2.SyncByteStream)
            for _ in request.stream:
                pass
            self.strange = another_ledgers_batch(self._world.gateway(), 4)
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        return self._world.transport.handle_request(request)


def test_the_answers_of_another_ledger_in_the_same_workspace_are_not_taken_for_ours() -> None:
    """Its batch has the same size and the same ordinals: only the nonces in its wire ids tell."""
    world = World(FOUR)
    crossing = Crossing(world)
    assert world.run(gateway=world.gateway(crossing)) == 0
    assert [disowned.batch for disowned in world.events(e.BatchDisowned)] == [crossing.strange]
    [created] = world.events(e.BatchCreated)
    assert created.submission == 2
    wires = [parse_wire_id(row_wire_id(row) or "") for row in world.answers().values()]
    assert [wire.nonce for wire in wires if wire is not None] == [nonce_of(LEDGER_ID, 1, 2)] * 4
