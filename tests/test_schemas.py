"""The committed schemas are those of the types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ledger.core.events import EVENT_CLASSES, TYPE_NAMES
from ledger.core.items import Defaults, Request, parse_item
from ledger.files.schemas import ItemWithParams, ItemWithPrompt, as_text, find_summary, main, schemas

COMMITTED = Path(__file__).parent.parent / "schemas"
GENERATED = schemas(find_summary())


@pytest.mark.parametrize("name", GENERATED)
def test_the_committed_schema_is_the_generated_one(name: str) -> None:
    """When this fails: `make schemas`, and look at what changed: events may only gain fields with defaults."""
    assert (COMMITTED / name).read_text(encoding="utf-8") == as_text(GENERATED[name])


def test_nothing_else_is_committed() -> None:
    assert sorted(path.name for path in COMMITTED.iterdir()) == sorted(GENERATED)


def test_the_command_writes_them(tmp_path: Path) -> None:
    assert main([str(tmp_path / "new")]) == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "new").iterdir()} == {
        name: as_text(schema) for name, schema in GENERATED.items()
    }


def test_every_event_has_its_own_variant_and_forbids_unknown_fields() -> None:
    schema = GENERATED["event.schema.json"]
    variants = {one["properties"]["type"]["const"]: one["properties"]["data"]["$ref"] for one in schema["oneOf"]}
    assert variants == {TYPE_NAMES[cls]: f"#/$defs/{cls.__name__}" for cls in EVENT_CLASSES}
    assert all(schema["$defs"][cls.__name__]["additionalProperties"] is False for cls in EVENT_CLASSES)


@pytest.mark.parametrize("schema", GENERATED.values(), ids=GENERATED)
def test_every_reference_leads_somewhere(schema: dict[str, Any]) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if "$ref" in node else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert references(schema)
    assert {name.removeprefix("#/$defs/") for name in references(schema)} <= schema["$defs"].keys()


PARAMS = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    "item",
    [
        {"custom_id": "a", "params": PARAMS, "priority": -3},
        {"id": 7, "params": PARAMS, "column": [1]},
        {"prompt": "x", "system": "s", "model": "claude-haiku-4-5", "max_tokens": 5, "id": None},
        {"prompt": [{"type": "text", "text": "x"}], "custom_id": "b", "price": "1.20"},
    ],
)
def test_what_the_item_schema_describes_is_what_intake_takes(item: dict[str, Any]) -> None:
    shape = ItemWithParams if "params" in item else ItemWithPrompt
    msgspec.convert(item, shape)
    line = json.dumps(item).encode()
    assert isinstance(parse_item(line, Defaults(model="claude-haiku-4-5", max_tokens=10)), Request)


@pytest.mark.parametrize(
    "item",
    [
        {"custom_id": "", "params": PARAMS},
        {"params": PARAMS, "priority": 1001},
        {"params": []},
        {"prompt": ""},
        {"prompt": []},
        {"prompt": "x", "max_tokens": 0},
    ],
)
def test_what_the_item_schema_refuses_intake_refuses(item: dict[str, Any]) -> None:
    shape = ItemWithParams if "params" in item else ItemWithPrompt
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(item, shape)
    line = json.dumps(item).encode()
    assert not isinstance(parse_item(line, Defaults(model="claude-haiku-4-5", max_tokens=10)), Request)
