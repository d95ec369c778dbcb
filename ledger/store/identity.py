"""Who is writing: this machine, this boot, this process, in terms that another process can check.

A process id alone is reused; with its start time and the machine's boot id it names one process for ever.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from socket import gethostname


@cache
def machine_id() -> str:
    """Return what names this installation of an operating system; the host name where nothing better exists."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        text = _read(path)
        if text:
            return text
    return f"host:{host_name()}"


@cache
def boot_id() -> str:
    """Return what names this boot of the machine, or "" where the system does not say."""
    if sys.platform == "darwin":
        return _output("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    return _read("/proc/sys/kernel/random/boot_id")


def host_name() -> str:
    """Return the machine's name, for messages."""
    return gethostname()


def process_start(pid: int) -> str:
    """Return when a process of this machine started, in the system's own terms, or "" when there is none.

    On Linux the ticks since boot (proc_pid_stat(5), field 22), elsewhere what ``ps`` prints.
    """
    if sys.platform == "linux":
        stat = _read(f"/proc/{pid}/stat")
        # The second field is the program's name in parentheses and may itself hold blanks and parentheses.
        fields = stat.rpartition(")")[2].split()
        return fields[19] if len(fields) > 19 else ""
    return _output("/bin/ps", "-o", "lstart=", "-p", str(pid))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _output(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)  # noqa: S603 - fixed programs
    return result.stdout.strip()
