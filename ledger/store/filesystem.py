"""Where a ledger may be written: on a disk of this machine.

Locks and fsync, which the guarantees rest on, mean little on network and user-space file systems: NFS and SMB lose
locks, 9p and FUSE do what their server pleases (sqlite.org/faq.html#q5, sqlite.org/wal.html: "WAL does not work over
a network filesystem").
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ledger.core.errors import UsageError

_REFUSED = {
    "9p": "9p",
    "afs": "AFS",
    "afpfs": "AFP",
    "ceph": "CephFS",
    "cifs": "SMB",
    "drvfs": "a Windows drive",
    "fuse": "FUSE",
    "fuseblk": "FUSE",
    "lustre": "Lustre",
    "macfuse": "FUSE",
    "nfs": "NFS",
    "nfs4": "NFS",
    "osxfuse": "FUSE",
    "prl_fs": "a folder shared with the host",
    "smb2": "SMB",
    "smb3": "SMB",
    "smbfs": "SMB",
    "vboxsf": "a folder shared with the host",
    "virtiofs": "a folder shared with the host",
    "webdav": "WebDAV",
}


def require_local_disk(path: Path) -> None:
    """Refuse a path for a ledger whose file system cannot keep the guarantees.

    Raises:
        UsageError: the file system is NFS, SMB, 9p, FUSE or alike.
    """
    directory = path.resolve().parent
    kind = file_system_of(directory)
    name = _REFUSED.get(kind) or ("FUSE" if kind.startswith("fuse.") else "")
    if name:
        raise UsageError(
            f"a ledger cannot be kept on {name}",
            where=str(path),
            why=f"{directory} is on a file system ({kind}) whose locks and syncs cannot be relied on",
            next=f"--ledger LOCALPATH, on a disk of this machine, such as --ledger /var/tmp/{path.name}",
        )


def file_system_of(directory: Path) -> str:
    """Return the type of the file system that holds a directory, or "" where the system does not say."""
    if sys.platform == "darwin":
        listing = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False, timeout=10).stdout
        return deepest(mounts_of_macos(listing), directory)
    try:
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return deepest(mounts_of_linux(text), directory)


def mounts_of_linux(mountinfo: str) -> list[tuple[str, str]]:
    """Return (mount point, type) of every line of ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)), in its order."""
    mounts = []
    for line in mountinfo.splitlines():
        left, separator, right = line.partition(" - ")
        if separator:
            mounts.append((_unescape(left.split(" ")[4]), right.split(" ")[0]))
    return mounts


def mounts_of_macos(listing: str) -> list[tuple[str, str]]:
    """Return (mount point, type) of every line that ``mount`` prints there."""
    return re.findall(r"^.* on (.*) \((\w+)", listing, re.MULTILINE)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def deepest(mounts: list[tuple[str, str]], directory: Path) -> str:
    """Return the type at the longest mount point above a directory; of equal ones the last hides the others."""
    best, kind = -1, ""
    parents = {str(directory), *(str(parent) for parent in directory.parents)}
    for point, mounted in mounts:
        if point in parents and len(point) >= best:
            best, kind = len(point), mounted
    return kind
