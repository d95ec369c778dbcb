"""JSON Schemas of what goes in and what comes out, made from the types: ``python -m ledger.files.schemas DIRECTORY``.

``item`` is a line of input, ``event`` a row of the log, ``result`` a line of ``ledger results``, ``summary`` what
``ledger run --json`` prints, ``audit`` what ``ledger replay --audit --json`` prints, ``projection`` what ``ledger
replay --projection`` prints, ``costs`` what ``ledger costs --json`` prints, ``verification`` what ``ledger verify
--json`` prints, ``prices`` a file for ``--prices``. A test holds the committed files equal to these.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec

from ledger.core.audit import AuditReport
from ledger.core.events import EVENT_CLASSES, TYPE_NAMES
from ledger.core.items import PRIORITY_MAX
from ledger.core.pricefile import PriceFile
from ledger.core.projection import Projection
from ledger.core.proof import CostProof
from ledger.core.receipt import Verification
from ledger.files.export import Answered

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES = "#/$defs/{name}"

_Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)] | int | None
_Priority: TypeAlias = Annotated[int, msgspec.Meta(ge=-PRIORITY_MAX, le=PRIORITY_MAX)] | None


class ItemWithParams(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A request as the Messages API takes it; what ``params`` lacks is filled in from the run's defaults.

    Without an id, the item gets 16 hex digits of the SHA-256 of its params. Other columns are kept and not sent.
    """

    params: dict[str, Any]
    custom_id: _Id = None
    id: _Id = None
    priority: _Priority = None


class ItemWithPrompt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A prompt, and what else differs from the run's defaults; other columns are kept and not sent."""

    prompt: Annotated[str, msgspec.Meta(min_length=1)] | Annotated[list[Any], msgspec.Meta(min_length=1)]
    custom_id: _Id = None
    id: _Id = None
    system: str | list[Any] | None = None
    model: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    priority: _Priority = None


def item_schema() -> dict[str, Any]:
    """Return the schema of a line of input: the one shape or the other."""
    references, definitions = msgspec.json.schema_components([ItemWithParams, ItemWithPrompt], ref_template=_REFERENCES)
    return _document("A line of input", {"oneOf": list(references)}, definitions)


def event_schema() -> dict[str, Any]:
    """Return the schema of a row of the log, as ``ledger events --json`` prints it."""
    references, definitions = msgspec.json.schema_components(EVENT_CLASSES, ref_template=_REFERENCES)
    variants = [
        {"properties": {"type": {"const": TYPE_NAMES[cls]}, "data": reference}}
        for cls, reference in zip(EVENT_CLASSES, references, strict=True)
    ]
    body: dict[str, Any] = {
        "type": "object",
        "properties": {
            "position": {"type": "integer", "minimum": 1},
            "at": {"type": "integer", "description": "microseconds since 1970 UTC, the writer's clock"},
            "type": {"enum": [TYPE_NAMES[cls] for cls in EVENT_CLASSES]},
            "data": {"type": "object"},
            "hash": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
        },
        "required": ["type", "data"],
        "oneOf": variants,
    }
    return _document("An event of the log", body, definitions)


def struct_schema(title: str, struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the schema of what a struct is encoded to."""
    (reference,), definitions = msgspec.json.schema_components([struct], ref_template=_REFERENCES)
    return _document(title, reference, definitions)


def schemas(summary: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """Return every schema by the name of its file.

    Args:
        summary: the summary of a run.
    """
    return {
        "item.schema.json": item_schema(),
        "event.schema.json": event_schema(),
        "result.schema.json": struct_schema("A line of results", Answered),
        "summary.schema.json": struct_schema("The summary of a run", summary),
        "audit.schema.json": struct_schema("The report of an audit", AuditReport),
        "projection.schema.json": struct_schema("The projection of a log", Projection),
        "costs.schema.json": struct_schema("The costs of a run, and what explains them", CostProof),
        "verification.schema.json": struct_schema("What became of a receipt", Verification),
        "prices.schema.json": struct_schema("A price table for --prices", PriceFile),
    }


def as_text(schema: dict[str, Any]) -> str:
    """Return a schema as it is committed: the same text for the same types."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _document(title: str, body: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    tidy = {name: _with_clean_text(definition) for name, definition in definitions.items()}
    return {"$schema": DIALECT, "title": title, **body, "$defs": tidy}


def _with_clean_text(definition: dict[str, Any]) -> dict[str, Any]:
    """Return a definition whose text is not indented: before Python 3.13 docstrings keep their indentation."""
    text = definition.get("description")
    return definition if text is None else {**definition, "description": inspect.cleandoc(text)}


def find_summary() -> type[msgspec.Struct]:
    """Return the summary's type; it lives on a floor above this one, which only a tool of the build may look up to."""
    found: type[msgspec.Struct] = importlib.import_module("ledger.summary").Summary
    return found


def main(arguments: list[str]) -> int:
    """Write all schemas into a directory; return the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m ledger.files.schemas DIRECTORY\n")
        return 2
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas(find_summary()).items():
        (directory / name).write_text(as_text(schema), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
