"""Tell what a folder is mounted from: clients of network file systems answer from caches of their own.

On Linux mountinfo (proc_pid_mountinfo(5)) tells it. Where nothing does, a folder counts as one of a
network file system: that costs a second look at names that seem not to be there, and nothing else.
"""

import os
from dataclasses import dataclass
from typing import Final

_MOUNTS: Final = "/proc/self/mountinfo"
_MOUNTS_BYTES: Final = 4 << 20
# File systems that no other machine changes behind this kernel's back.
_LOCAL: Final = frozenset(
    {"bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "exfat", "f2fs", "iso9660", "jfs", "overlay",
     "ramfs", "squashfs", "tmpfs", "vfat", "xfs", "zfs"}
)  # fmt: skip
_NFS: Final = frozenset({"nfs", "nfs4"})


@dataclass(frozen=True, slots=True)
class Mount:
    """The kind of file system, empty where it is not known, and the options that it is mounted with."""

    kind: str
    options: frozenset[str] = frozenset()

    @property
    def cached(self) -> bool:
        """Tell whether this kernel may answer from a cache what another machine has changed since."""
        return self.kind not in _LOCAL

    @property
    def nfs(self) -> bool:
        """Tell whether it is NFS."""
        return self.kind in _NFS


UNKNOWN: Final = Mount("")


def mount_of(path: str) -> Mount:
    """Tell what the folder at `path`, or the deepest one above it that exists, is mounted from.

    It may be asked about a folder on a server that does not answer: then it waits as any other access.
    """
    while True:
        try:
            device = os.stat(path).st_dev
            break
        except FileNotFoundError:
            path = os.path.dirname(path)
        except OSError:
            return UNKNOWN
    try:
        with open(_MOUNTS, "rb") as file:
            text = file.read(_MOUNTS_BYTES)
    except OSError:
        return UNKNOWN
    return find(text, f"{os.major(device)}:{os.minor(device)}")


def find(mounts: bytes, device: str) -> Mount:
    """Find a device, as `major:minor`, in the text of mountinfo."""
    for line in mounts.decode("utf-8", "replace").splitlines():
        before, separator, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if separator and len(fields) > 5 and fields[2] == device:
            options = [*fields[5].split(","), *(types[2].split(",") if len(types) > 2 else ())]
            return Mount(types[0], frozenset(options))
    return UNKNOWN
