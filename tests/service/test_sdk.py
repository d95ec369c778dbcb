"""The SDK is imported in part, and whoever wants the rest of it in the same process has it."""

from __future__ import annotations

import subprocess
import sys

import anthropic
import pytest

from ledger.service import sdk
from ledger.service.sdk import load_sdk


def said(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_a_client_needs_two_fifths_of_the_modules_at_most_and_no_client_of_another_cloud() -> None:
    loaded = "import sys; from ledger.service.sdk import load_sdk; load_sdk(); "
    modules = "[name for name in sys.modules if name.startswith('anthropic')]"
    part = int(said(loaded + f"print(len({modules}))"))
    whole = int(said(f"import sys, anthropic; print(len({modules}))"))
    assert part < whole * 0.4
    assert said(loaded + "print('anthropic.lib.bedrock' in sys.modules)") == "False"


def test_who_imports_the_sdk_afterwards_has_all_of_it_as_the_same_classes() -> None:
    program = """
from ledger.service.sdk import load_sdk
found = load_sdk()
import anthropic
assert anthropic.Anthropic is found.Anthropic and anthropic.APIStatusError is found.APIStatusError
assert anthropic.AnthropicBedrock and anthropic.__version__
from anthropic import *
from anthropic.types.beta import BetaMessage
from anthropic.types import Message
assert anthropic.types.Message is Message and issubclass(RateLimitError, found.APIStatusError)
assert type(anthropic).__name__ == "module" and "BetaMessage" in anthropic.types.beta.__dict__
assert "MessageBatch" not in anthropic.types.__dict__
from anthropic.types import *
assert type(anthropic.types).__name__ == "module" and anthropic.types.Model == Model
try:
    anthropic.types.Nothing
except AttributeError as problem:
    assert "Nothing" in str(problem)
print(load_sdk() == found)
"""
    assert said(program) == "True"


def test_what_is_imported_already_is_taken() -> None:
    assert load_sdk().Anthropic is anthropic.Anthropic


def test_an_sdk_that_is_made_otherwise_is_imported_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "anthropic"}
    for name in saved:
        monkeypatch.delitem(sys.modules, name)

    def refused() -> sdk.Sdk:
        import anthropic._version  # some of it is there by then

        assert anthropic._version
        raise ImportError("there is no module of that name")

    monkeypatch.setattr(sdk, "_without_types", refused)
    try:
        found = load_sdk()
        assert found.Anthropic is sys.modules["anthropic"].Anthropic
        assert found.Anthropic is not anthropic.Anthropic
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "anthropic"]:
            del sys.modules[name]
        sys.modules.update(saved)


def test_the_sdk_says_what_it_does_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_LOG", "debug")
    program = "import logging; from ledger.service.sdk import load_sdk; load_sdk(); "
    assert said(program + "print(logging.getLogger('anthropic').level == logging.DEBUG)") == "True"
