"""Bugs of sealing and submitting: what is sent, when, and how often."""

from __future__ import annotations

from planted.bug import GATEWAY, RACES, RUNNER, Bug

SUBMITTING = (
    Bug(
        "no intent before the POST",
        "Nothing is sent before the intent to send it is durable: the submission is announced only with its release.",
        "ledger/perform.py",
        """    tools.emit([*named, prepared])
    return _send(job, prepared, tools)
""",
        """    tools.emit(named)
    emit = tools.emit
    tools = tools._replace(emit=lambda events, results=(): emit([prepared, *events], results))
    return _send(job, prepared, tools)
""",
        ("tests/test_runner_ahead.py",),
    ),
    Bug(
        "emit does not wait",
        "An effect starts only once the events that announce it are durable.",
        "ledger/runner.py",
        "        while not done.wait(self._slice_seconds):\n",
        "        while False:\n",
        (f"{RACES}::test_canceling_everything_stops_a_submission_before_it_is_announced",),
    ),
    Bug(
        "the SDK retries",
        "A POST is made once: the SDK's own retries can make three billed batches of one submission.",
        "ledger/service/gateway.py",
        "max_retries=0,",
        "max_retries=2,",
        (f"{GATEWAY}::test_every_call_is_one_request_whatever_the_answer",),
    ),
    Bug(
        "the last byte is not withheld",
        "Before the release the service cannot have a whole body, so a crash until then cannot have made a batch.",
        "ledger/service/gateway.py",
        """        if len(held) > 1:
            yield held[:-1]
        asked = self._seconds()
        self._release(hashed.hexdigest())
        self.released = True
        if self._seconds() - asked > RELEASE_SECONDS:
            raise ReleaseRefusedError("the process stood still after the release")
        yield held[-1:]
""",
        """        yield held
        asked = self._seconds()
        self._release(hashed.hexdigest())
        self.released = True
        if self._seconds() - asked > RELEASE_SECONDS:
            raise ReleaseRefusedError("the process stood still after the release")
""",
        (f"{GATEWAY}::test_the_service_has_all_but_the_last_byte_until_it_is_released",),
    ),
    Bug(
        "released and sent whenever",
        "The last byte is sent within five seconds of the release, or not at all: a process that stood still for an "
        "hour must not send what was given up meanwhile.",
        "ledger/service/gateway.py",
        "        if self._seconds() - asked > RELEASE_SECONDS:\n",
        "        if False:\n",
        (f"{GATEWAY}::test_a_last_byte_that_is_due_for_too_long_is_never_sent",),
    ),
    Bug(
        "a body of another size is sent",
        "What is sent is what was sealed, byte for byte.",
        "ledger/service/gateway.py",
        "        if sent != self._size_bytes:\n",
        "        if False:\n",
        (f"{GATEWAY}::test_a_body_of_another_size_than_was_sealed_is_never_released",),
    ),
    Bug(
        "a redirect is followed",
        "A key and prompts go to the one service that the ledger is pinned to, and results come from nowhere else.",
        "ledger/service/gateway.py",
        """options={"headers": {"Accept": "application/binary"}, "follow_redirects": False},""",
        """options={"headers": {"Accept": "application/binary"}, "follow_redirects": True},""",
        (f"{GATEWAY}::test_a_redirect_is_not_followed",),
    ),
    Bug(
        "an overload is a refusal",
        "An answer that refuses nothing for certain (5xx) leaves a submission uncertain; it is not sent again at once.",
        "ledger/core/answers.py",
        """            return "wait" if retry_after or code == "ramp_limit_exceeded" else "wait_for_queue"
        case _:
            return None
""",
        """            return "wait" if retry_after or code == "ramp_limit_exceeded" else "wait_for_queue"
        case _:
            return "wait"
""",
        ("tests/core/test_answers.py",),
    ),
    Bug(
        "any 4xx refuses",
        "A refusal counts only in the API's own error envelope: a proxy's 400 may stand in front of an accepted batch.",
        "ledger/core/answers.py",
        "    if not envelope:\n        return None\n",
        "",
        ("tests/core/test_answers.py",),
    ),
    Bug(
        "the wrong item is rejected",
        "A 400 that names requests.N ends that item and no other.",
        "ledger/perform.py",
        "            ordinal = members[index]\n",
        "            ordinal = members[index - 1]\n",
        (f"{RUNNER}::test_a_request_that_the_service_names_is_rejected_and_the_rest_answered",),
    ),
    Bug(
        "a 413 is not split",
        "A chunk that is too large is cut in two, until it fits.",
        "ledger/core/answers.py",
        """    if status == 413:
        return "split"
""",
        """    if status == 413:
        return "wait"
""",
        (f"{RUNNER}::test_a_chunk_that_is_too_large_is_cut_in_two",),
    ),
    Bug(
        "half of a split chunk is dropped",
        "Every request of a chunk that was cut in two is in one of the halves.",
        "ledger/core/chunks.py",
        "        parts = [members[:at], members[at:]]\n",
        "        parts = [members[:at], members[at + 1 :]]\n",
        ("tests/core/test_chunks.py",),
    ),
    Bug(
        "a spend limit is no pause",
        "A customer's own spend limit pauses the run; it is not an error of the requests.",
        "ledger/core/answers.py",
        "            if message.startswith(_SPEND_MESSAGE):\n",
        "            if False:\n",
        (f"{RUNNER}::test_a_spend_limit_pauses_the_run_and_marks_no_item",),
    ),
    Bug(
        "a pause is ignored",
        "Nothing is submitted while the run is paused.",
        "ledger/core/sending.py",
        "    if state.pauses:\n        return\n    sealed = sorted(",
        "    sealed = sorted(",
        ("tests/core/test_decide.py",),
    ),
    Bug(
        "a pause does not stop the last byte",
        "A pause that comes while a body is under way keeps its last byte from being sent.",
        "ledger/runner.py",
        "            if isinstance(event, e.SubmissionReleased) and state.pauses:\n",
        "            if False:\n",
        (f"{RACES}::test_canceling_everything_stops_a_submission_before_its_last_byte",),
    ),
    Bug(
        "the queue limit is ignored",
        "No more requests are at the service at once than the policy allows.",
        "ledger/core/sending.py",
        "        fits = chunk.requests <= room or alone\n",
        "        fits = True\n",
        ("tests/core/test_decide.py",),
    ),
    Bug(
        "a full queue is not waited for",
        "After a refusal for a full queue nothing is sent until one of our batches ends, or for five minutes.",
        "ledger/core/sending.py",
        "    blocked = _queue_blocked(state, now, plan)\n",
        "    blocked = False\n",
        ("tests/core/test_decide.py",),
    ),
    Bug(
        "priorities are ignored when sealing",
        "Requests of a higher priority are sealed and sent first.",
        "ledger/core/sending.py",
        "    return sorted(lanes, key=lambda lane: (-lane[0], lane[1]))\n",
        "    return sorted(lanes, key=lambda lane: (lane[0], lane[1]))\n",
        (f"{RUNNER}::test_higher_priorities_are_sent_first_and_in_chunks_of_their_own",),
    ),
    Bug(
        "priorities are ignored when submitting",
        "Of several sealed chunks the one of the highest priority is submitted first.",
        "ledger/core/sending.py",
        "        key=lambda chunk: (-chunk.priority, chunk.chunk),\n",
        "        key=lambda chunk: chunk.chunk,\n",
        ("tests/core/test_decide.py",),
    ),
    Bug(
        "sizes are not kept apart",
        "Open chunks have pairwise different numbers of requests, the only tag that the service's list shows.",
        "ledger/core/sending.py",
        "avoid=frozenset(",
        "avoid=frozenset() and frozenset(",
        (f"{RUNNER}::test_a_run_answers_every_item_in_chunks_of_distinct_sizes",),
    ),
    Bug(
        "a chunk is sent beside one of its size in doubt",
        "While a chunk is in doubt, no other of its size is sent: their batches could not be told apart.",
        "ledger/core/sending.py",
        "        if chunk.requests in in_doubt:\n",
        "        if False:\n",
        ("tests/core/test_decide.py",),
    ),
    Bug(
        "what was decided on begins whatever came between",
        "A submission that was decided on does not begin when a pause, or one of its size, came between.",
        "ledger/core/sending.py",
        "    return not state.pauses and one.requests not in sizes_in_doubt(state) and affordable(state, one)\n",
        "    return True\n",
        (f"{RACES}::test_canceling_everything_stops_a_submission_before_it_is_announced",),
    ),
)
