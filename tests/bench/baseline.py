"""The same job the way the documentation shows it: the official SDK, a loop, and no memory of what happened.

    python baseline.py ITEMS.jsonl ANSWERS.jsonl --poll 0.5

Reads the items, creates batches of at most 10,000 requests and 64 MB (what `ledger` makes by default, so that both
sides hold the same batches), polls until all have ended, and writes one line an answer, in the order in which they
come. When this process is killed, the ids of its batches are gone: that is what the comparison is about, and why the
figures beside it are worth knowing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anthropic import Anthropic
from anthropic.types.messages.batch_create_params import Request

CHUNK_REQUESTS = 10_000
CHUNK_BYTES = 64_000_000


def chunks(items: Path) -> Iterator[list[Request]]:
    """Yield the requests of one batch at a time; the bytes of the lines stand for those of the body."""
    chunk: list[Request] = []
    size_bytes = 0
    with items.open("rb") as lines:
        for line in lines:
            if len(chunk) == CHUNK_REQUESTS or size_bytes + len(line) > CHUNK_BYTES:
                yield chunk
                chunk, size_bytes = [], 0
            chunk.append(json.loads(line))
            size_bytes += len(line)
    if chunk:
        yield chunk


def answer(row: Any) -> dict[str, Any]:
    """Return what is kept of one result."""
    result = row.result
    if result.type != "succeeded":
        return {"custom_id": row.custom_id, "outcome": result.type}
    message = result.message
    return {
        "custom_id": row.custom_id,
        "outcome": result.type,
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "usage": message.usage.to_dict(),
        "model": message.model,
        "stop_reason": message.stop_reason,
    }


def main() -> None:
    """Do the job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("items", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--poll", type=float, default=60.0, help="seconds between two looks at a batch")
    options = parser.parse_args()
    client = Anthropic()
    waiting = [client.messages.batches.create(requests=chunk).id for chunk in chunks(options.items)]
    with options.answers.open("w", encoding="utf-8") as out:
        while waiting:
            for batch in list(waiting):
                if client.messages.batches.retrieve(batch).processing_status == "ended":
                    for row in client.messages.batches.results(batch):
                        out.write(json.dumps(answer(row), ensure_ascii=False) + "\n")
                    waiting.remove(batch)
            if waiting:
                time.sleep(options.poll)


if __name__ == "__main__":
    main()
