"""The page on configuration says what is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "configuration.md").read_text(encoding="utf-8")
PROGRAMS = Path(sys.executable).parent


def test_every_command_prints_what_the_page_shows(tmp_path: Path) -> None:
    blocks = re.findall(r"^```console\n\$ (.*?)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    for line, output in blocks:
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
        )
        assert done.stdout == output, line
