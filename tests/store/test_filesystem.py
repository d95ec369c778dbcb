"""A ledger is only written on a disk of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.core.errors import UsageError
from ledger.store import filesystem
from ledger.store.filesystem import deepest, file_system_of, mounts_of_linux, mounts_of_macos, require_local_disk

MOUNTINFO = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
40 27 0:50 / /mnt/with\040blank rw,relatime shared:7 - nfs4 server:/export rw
41 27 0:51 / /home rw - btrfs /dev/sdb rw
42 27 0:52 / /data rw - ext4 /dev/sdc rw
43 27 0:53 / /data rw - fuse.sshfs me@host:/ rw
44 27 0:54 / /data/local rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/", "ext4"),
        ("/var/tmp", "ext4"),
        ("/mnt/with blank/deep/down", "nfs4"),
        ("/mnt/with", "ext4"),
        ("/home/me", "btrfs"),
        ("/homely", "ext4"),
        ("/data/x", "fuse.sshfs"),
        ("/data/local", "tmpfs"),
    ],
)
def test_the_deepest_and_last_mount_above_a_directory_counts(directory: str, kind: str) -> None:
    assert deepest(mounts_of_linux(MOUNTINFO), Path(directory)) == kind


def test_the_mounts_of_macos_are_read_from_the_mount_command() -> None:
    listing = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "//me@nas/share on /Volumes/My share (smbfs, nodev, nosuid, mounted by me)\n"
    )
    assert mounts_of_macos(listing) == [("/", "apfs"), ("/Volumes/My share", "smbfs")]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("nfs4", "NFS"), ("cifs", "SMB"), ("9p", "9p"), ("fuse.sshfs", "FUSE"), ("virtiofs", "shared with the host")],
)
def test_a_network_file_system_is_refused_by_name_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, name: str
) -> None:
    monkeypatch.setattr(filesystem, "file_system_of", lambda directory: kind)
    with pytest.raises(UsageError) as refusal:
        require_local_disk(tmp_path / "a.ledger")
    assert name in refusal.value.what
    assert "--ledger LOCALPATH" in refusal.value.next


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs", "apfs", ""])
def test_a_local_file_system_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    monkeypatch.setattr(filesystem, "file_system_of", lambda directory: kind)
    require_local_disk(tmp_path / "a.ledger")


def test_the_system_says_what_holds_a_directory() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
