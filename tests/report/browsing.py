"""A headless Chromium, spoken to over its own pipe: what a page logs, asks for, how wide it is, and how it looks."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_PIPE_FROM = 10
_DEADLINE_SECONDS = 60
# The browser reads from 3 and writes to 4. Wired in a process of its own: a fork in one with threads is deprecated.
_START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)


def program() -> str | None:
    """Return the browser of this machine, if it has one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """A page that is loaded, in a window of a given size.

    Attributes:
        requests: every address that was asked for, the page's own first.
        logged: everything that was logged, by the page or about it.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self.requests: list[str] = []
        self.logged: list[str] = []
        self._browser = browser
        self._session = session

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        return self._browser.ask(method, self._session, **parameters)

    def js(self, expression: str) -> Any:
        """Return the value of an expression, as the browser's own tools see it: the page itself runs nothing."""
        result = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        taken = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(taken["data"]))

    def key(self, name: str) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=9)

    def told(self, event: dict[str, Any]) -> None:
        """Take an event of the protocol."""
        parameters = event["params"]
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Log.entryAdded":
                self.logged.append(parameters["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.logged.append(json.dumps(parameters))
            case "Audits.issueAdded":
                self.logged.append(json.dumps(parameters["issue"]["code"]))


class Browser:
    """A browser that runs."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._out = os.fdopen(to_browser, "wb", buffering=0)
        self._in = os.fdopen(from_browser, "rb", buffering=0)
        self._rest = b""
        self._number = 0
        self._pages: dict[str, Page] = {}
        self._loaded: set[str] = set()

    def ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result; events that come meanwhile go to their page."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._take(answer)
        assert "error" not in answer, (method, answer["error"])
        return dict(answer["result"])

    def open(self, path: Path, *, width: int = 1280, height: int = 900, scheme: str = "light", media: str = "") -> Page:
        """Return a page from a file, loaded."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self._pages[session] = Page(self, session)
        for domain in ("Network", "Page", "Runtime", "Log", "Audits"):
            page.ask(f"{domain}.enable")
        page.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        page.ask("Emulation.setEmulatedMedia", media=media, features=features)
        page.ask("Page.navigate", url=path.resolve().as_uri())
        while session not in self._loaded:
            self._take(self._next())
        return page

    def close(self) -> None:
        """Close the pipe; the browser ends with it."""
        self._out.close()
        self._in.close()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = self._in.read(1 << 20)
            assert read, "the browser is gone"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def _take(self, event: dict[str, Any]) -> None:
        session = event.get("sessionId", "")
        if event.get("method") == "Page.loadEventFired":
            self._loaded.add(session)
        if session in self._pages and "method" in event:
            self._pages[session].told(event)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start a browser of its own, with a profile of its own, and end it."""
    found = program()
    assert found is not None
    ours_in, theirs_out = os.pipe()
    theirs_in, ours_out = os.pipe()
    high = [fcntl.fcntl(each, fcntl.F_DUPFD, _PIPE_FROM) for each in (theirs_in, theirs_out)]

    with tempfile.TemporaryDirectory(prefix="ledger-browser-") as profile:
        arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        arguments += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        arguments += ["--remote-debugging-pipe", f"--user-data-dir={profile}", "--hide-scrollbars", "about:blank"]
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *map(str, high), found, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=high,
        )
        for each in (*high, theirs_in, theirs_out):
            os.close(each)
        running = Browser(ours_out, ours_in)
        try:
            yield running
            running.ask("Browser.close")
        finally:
            running.close()
            try:
                process.wait(_DEADLINE_SECONDS)
            finally:
                process.kill()
