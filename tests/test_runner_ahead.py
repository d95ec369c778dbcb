"""What arrives at the service, and what the log holds by then: nothing runs ahead of the event that announces it."""

from __future__ import annotations

import json
import re

import httpx2
from running import World

from ledger.core import events as e

FIRST_WIRE_ID = re.compile(rb'"custom_id":"[0-9a-z]+-([0-9a-z]+)-')


class Arrivals(httpx2.BaseTransport):
    """The service's door: notes what the log holds when the first byte of a body arrives, and when the last does.

    Attributes:
        announced: for each accepted body, whether its intent was durable before its first byte.
        released: whether its release was durable before its last.
        prompts: what was sent under each ordinal.
    """

    def __init__(self, world: World) -> None:
        self.announced: list[bool] = []
        self.released: list[bool] = []
        self.prompts: dict[int, str] = {}
        self._world = world

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return self._world.transport.handle_request(request)
        prepared_by_then = self._world.events(e.SubmissionPrepared)
        assert isinstance(request.stream, httpx2.SyncByteStream)
        arrived = b"".join(request.stream)
        released_by_then = self._world.events(e.SubmissionReleased)
        found = FIRST_WIRE_ID.search(arrived)
        assert found is not None
        nonce = found[1].decode()
        mine = [one for one in prepared_by_then if one.nonce == nonce]
        self.announced.append(len(mine) == 1)
        claims = {(one.chunk, one.submission) for one in self._world.events(e.SubmissionPrepared) if one.nonce == nonce}
        self.released.append(any((one.chunk, one.submission) in claims for one in released_by_then))
        for item in json.loads(arrived)["requests"]:
            ordinal = int(item["custom_id"].partition("-")[0], 36)
            self.prompts[ordinal] = item["params"]["messages"][0]["content"]
        again = httpx2.Request(request.method, request.url, headers=request.headers, content=arrived)
        return self._world.transport.handle_request(again)


def test_the_intent_is_durable_before_the_first_byte_and_the_release_before_the_last() -> None:
    world = World([f"Say {number}." for number in range(10)])
    door = Arrivals(world)
    assert world.run(gateway=world.gateway(door)) == 0
    assert (door.announced, door.released) == ([True] * 4, [True] * 4)


def test_each_prompt_travels_under_the_ordinal_of_its_item() -> None:
    world = World([f"Say {number}." for number in range(40)])
    door = Arrivals(world)
    assert world.run(gateway=world.gateway(door)) == 0
    assert door.prompts == dict(enumerate(world.texts))
