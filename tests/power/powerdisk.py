"""What a disk may hold after a power cut, given everything that was asked of it until then, in order.

The model is harsher than real disks are. What was written to a file is safe only once that file was synced; a name
(made, renamed, removed) only once its directory was. Until then every 512 bytes of every write may be there or not, in
any combination and whatever came later; the file may have grown without its new bytes, which then read as zeros or as
what some deleted file left there; and names may be lost apart from what they name. (sqlite.org/atomiccommit.html,
sections 2 and 9; fsync(2): "Calling fsync() does not necessarily ensure that the entry in the directory containing the
file has also reached disk".) Two things are assumed, as SQLite assumes them: a sync that returned is not a lie, and
writing some bytes leaves their neighbours alone ("powersafe overwrite", sqlite.org/psow.html).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

SECTOR_BYTES = 512

Kind: TypeAlias = Literal["create", "write", "truncate", "sync", "rename", "unlink", "sync names", "ack"]


class Step(NamedTuple):
    """One thing that was asked of the disk, or (``ack``) one thing that was promised to somebody.

    Attributes:
        kind: what.
        file: the file, by a number that a rename does not change; -1 where there is none.
        name: of the file in its directory, for the kinds that change names.
        to: the new name of a rename.
        offset: where a write starts, or the size that a truncation leaves, in bytes.
        data: what was written.
        promise: what was promised.
    """

    kind: Kind
    file: int = -1
    name: str = ""
    to: str = ""
    offset: int = 0
    data: bytes = b""
    promise: object = None


class Piece(NamedTuple):
    """The smallest thing that a power cut leaves whole or not at all: one sector of a write, or one truncation."""

    step: int
    file: int
    offset: int
    data: bytes | None

    @property
    def end(self) -> int:
        return self.offset if self.data is None else self.offset + len(self.data)


class Survivor(NamedTuple):
    """What is found after a cut: which file each name leads to, and what each file holds."""

    names: dict[str, int]
    contents: dict[int, bytes]

    def files(self) -> dict[str, bytes]:
        return {name: self.contents.get(file, b"") for name, file in self.names.items()}


class Disk:
    """The disk right after some steps: what is safe, and what is on its way.

    Args:
        names: the files that were there before, by their names.
        contents: what they hold.
    """

    def __init__(self, names: dict[str, int] | None = None, contents: dict[int, bytes] | None = None) -> None:
        self.names = dict(names or {})
        self.pending_names: list[Step] = []
        self.safe = dict(contents or {})
        self.pending: dict[int, list[Piece]] = {}
        self.steps = 0
        self.promises: list[object] = []

    def take(self, step: Step) -> None:
        """Advance by one step."""
        match step.kind:
            case "create" | "rename" | "unlink":
                self.pending_names.append(step)
            case "sync names":
                for one in self.pending_names:
                    _change(self.names, one)
                self.pending_names = []
            case "write":
                self.pending.setdefault(step.file, []).extend(_sectors(self.steps, step))
            case "truncate":
                self.pending.setdefault(step.file, []).append(Piece(self.steps, step.file, step.offset, None))
            case "sync":
                pieces = self.pending.pop(step.file, [])
                if pieces:
                    self.safe[step.file] = _written(self.safe.get(step.file, b""), pieces, pieces, b"")
            case "ack":
                self.promises.append(step.promise)
        self.steps += 1

    def on_its_way(self) -> list[Piece]:
        """Return the pieces that a cut may lose, in the order they were written."""
        return sorted((piece for pieces in self.pending.values() for piece in pieces), key=lambda piece: piece.step)

    def survivor(
        self, keep: Callable[[Piece], bool], keep_name: Callable[[int], bool], grown: bool = False, filler: bytes = b""
    ) -> Survivor:
        """Return what a cut leaves.

        Args:
            keep: whether a piece has reached the disk.
            keep_name: whether the change of names with this number, from 0, has.
            grown: files have the size they were to have, with or without their bytes.
            filler: what the missing bytes of grown files read as, over and over; zeros when empty.
        """
        names = dict(self.names)
        for number, step in enumerate(self.pending_names):
            if keep_name(number):
                _change(names, step)
        contents = dict(self.safe)
        for file, pieces in self.pending.items():
            kept = [piece for piece in pieces if keep(piece)]
            contents[file] = _written(contents.get(file, b""), kept, pieces if grown else kept, filler)
        return Survivor(names, contents)


def _change(names: dict[str, int], step: Step) -> None:
    match step.kind:
        case "create":
            names[step.name] = step.file
        case "rename":
            names.pop(step.name, None)
            names[step.to] = step.file
        case _:
            names.pop(step.name, None)


def _sectors(number: int, step: Step) -> Iterator[Piece]:
    at = 0
    while at < len(step.data):
        start = step.offset + at
        size = SECTOR_BYTES - start % SECTOR_BYTES
        yield Piece(number, step.file, start, step.data[at : at + size])
        at += size


def _written(content: bytes, kept: Sequence[Piece], sizing: Sequence[Piece], filler: bytes) -> bytes:
    """Return a file's content with some pieces written, as large as other pieces make it."""
    held = bytearray(content)
    for piece in kept:
        if piece.data is None:
            _resize(held, piece.offset, b"")
        else:
            if len(held) < piece.offset:
                _resize(held, piece.offset, filler)
            held[piece.offset : piece.end] = piece.data
    size = len(content)
    for piece in sizing:
        size = piece.offset if piece.data is None else max(size, piece.end)
    if sizing is not kept:
        _resize(held, max(size, len(held)), filler)
    return bytes(held)


def _resize(held: bytearray, size: int, filler: bytes) -> None:
    missing = size - len(held)
    if missing <= 0:
        del held[size:]
    elif filler:
        held += (filler * (missing // len(filler) + 1))[:missing]
    else:
        held += bytes(missing)


# ── the states of one instant ───────────────────────────────────────────────────────────────────────────────────


def _all(_: object) -> bool:
    return True


def _none(_: object) -> bool:
    return False


def survivors(disk: Disk, chance: random.Random, samples: int) -> Iterator[tuple[str, Survivor]]:
    """Yield (how it came about, what is left) of a cut at one instant.

    What always comes: all of what was on its way, none of it, every first part of the changes of names. Then
    ``samples`` of each of these: the writes reached the disk in order up to some sector; all but one write did; only
    one did; any subset of the writes; any subset of the sectors, and of the names, in files that may have grown.
    """
    yield "all of it", disk.survivor(_all, _all)
    pieces = disk.on_its_way()
    changes = len(disk.pending_names)
    if pieces or changes:
        yield "none of it", disk.survivor(_none, _none)
    for upto in range(changes):
        yield f"all writes, {upto} names", disk.survivor(_all, upto.__gt__)
        if upto:
            yield f"no writes, {upto} names", disk.survivor(_none, upto.__gt__)
    if not pieces:
        return
    writes = sorted({piece.step for piece in pieces})
    for _ in range(samples):
        yield _sampled(disk, pieces, writes, chance)


def _sampled(disk: Disk, pieces: list[Piece], writes: list[int], chance: random.Random) -> tuple[str, Survivor]:
    odds = chance.choice((0.1, 0.5, 0.9))
    names = {number for number in range(len(disk.pending_names)) if chance.random() < 0.5}
    grown = chance.random() < 0.5
    filler = chance.choice((b"", b"", chance.randbytes(SECTOR_BYTES)))
    match chance.randrange(5):
        case 0:
            there = set(pieces[: chance.randrange(len(pieces))])
            return "torn in order", disk.survivor(there.__contains__, _all, grown, filler)
        case 1:
            lost = chance.choice(writes)
            return "all but one write", disk.survivor(lambda piece: piece.step != lost, _all, grown, filler)
        case 2:
            only = chance.choice(writes)
            return "one write", disk.survivor(lambda piece: piece.step == only, _all, grown, filler)
        case 3:
            kept = {write for write in writes if chance.random() < odds}
            return "some writes", disk.survivor(lambda piece: piece.step in kept, names.__contains__, grown, filler)
        case _:
            there = {piece for piece in pieces if chance.random() < odds}
            return "some sectors", disk.survivor(there.__contains__, names.__contains__, grown, filler)
