"""The official SDK without two thirds of its import, which are types that nobody needs here.

``import anthropic`` takes 1.4 s of CPU and 55 MB; its client and what that cannot do without take 0.5 s and 25 MB. So
while that is imported, the packages around it are put in place without being executed; when something of one is asked
for, the module that defines it is imported, or the package is executed after all. Whoever uses the SDK beside us in the
same process finds all of it, as the same classes.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

if TYPE_CHECKING:
    import anthropic

_SDK = "anthropic"
_lock = threading.RLock()


class Sdk(NamedTuple):
    """What of the SDK is used here, under its public names."""

    Anthropic: type[anthropic.Anthropic]
    Stream: type[anthropic.Stream[Any]]
    AnthropicError: type[anthropic.AnthropicError]
    APIStatusError: type[anthropic.APIStatusError]
    APIConnectionError: type[anthropic.APIConnectionError]


def load_sdk() -> Sdk:
    """Return what is needed of the SDK: of the whole of it where that is imported already, or a part cannot be.

    Raises:
        ImportError: the SDK is not there, or broken.
    """
    with _lock:
        if _SDK not in sys.modules:
            try:
                return _without_types()
            except (ImportError, AttributeError):  # a version that is made otherwise: then all of it
                for name in [name for name in sys.modules if name.partition(".")[0] == _SDK]:
                    del sys.modules[name]
        return _named(*[import_module(_SDK)] * 3)


def _without_types() -> Sdk:
    with _deferred_packages():
        client, streaming = import_module(f"{_SDK}._client"), import_module(f"{_SDK}._streaming")
        errors, logs = import_module(f"{_SDK}._exceptions"), import_module(f"{_SDK}._utils._logs")
        logs.setup_logging()  # ANTHROPIC_LOG, as the package itself does when it is executed
        return _named(client, streaming, errors)


def _named(client: ModuleType, streaming: ModuleType, errors: ModuleType) -> Sdk:
    return Sdk(
        client.Anthropic, streaming.Stream, errors.AnthropicError, errors.APIStatusError, errors.APIConnectionError
    )


# ── packages that are executed later ────────────────────────────────────────────────────────────────────────────


class _Deferred(ModuleType):
    """A package that was put in place unexecuted."""

    def __getattr__(self, name: str) -> Any:
        with _lock:
            if type(self) is _Deferred and (source := _defined_in(self, name)):
                setattr(self, name, getattr(import_module(source, self.__name__), name))
            elif type(self) is _Deferred:
                _execute(self)
        return getattr(self, name)


def _defined_in(package: ModuleType, name: str) -> str:
    """Return the module that a package of types takes a name from, ``.model`` for instance, as its source says it."""
    if package.__name__ == _SDK or package.__spec__ is None:
        return ""
    source = cast("SourceFileLoader", package.__spec__.loader).get_source(package.__name__) or ""
    found = re.search(rf"^from (\.[\w.]+) import (?:\((?:[^)]*,)?\s*)?{re.escape(name)} as ", source, re.MULTILINE)
    return found[1] if found else ""


def _execute(module: ModuleType) -> None:
    module.__class__ = ModuleType  # first: what it imports may ask it for attributes in turn
    assert module.__spec__ is not None
    assert module.__spec__.loader is not None
    module.__spec__.loader.exec_module(module)


class _PutInPlace(Loader):
    """A loader that leaves the executing to its module."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        # While the client is imported, what the package itself lacks must look missing: `from . import x` asks first.
        if module.__name__ != _SDK:
            module.__class__ = _Deferred


class _Packages(MetaPathFinder):
    """Finds the SDK's package, and that of its types with all in it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _SDK and not f"{name}.".startswith(f"{_SDK}.types."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.submodule_search_locations is None or spec.loader is None:
            return None
        spec.loader = _PutInPlace(spec.loader)
        return spec


@contextmanager
def _deferred_packages() -> Iterator[None]:
    finder = _Packages()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
    sys.modules[_SDK].__class__ = _Deferred
