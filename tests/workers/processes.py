"""What Linux's /proc knows about processes and their sockets."""

import os
from contextlib import suppress
from pathlib import Path


def parents() -> dict[int, int]:
    """The parent of every living process, from Linux's /proc."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it may end while we look
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                found[int(stat.parent.name)] = int(parent)
    return found


def process_tree(root: int) -> set[int]:
    """`root` and all its descendants."""
    tree = {root}
    while grown := {pid for pid, parent in parents().items() if parent in tree} - tree:
        tree |= grown
    return tree


def listening_addresses(pids: set[int]) -> set[str]:
    """Local addresses, in /proc's hexadecimal, of the TCP sockets on which these processes listen."""
    inodes = {os.readlink(fd) for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    rows = [row.split() for table in ("tcp", "tcp6") for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in inodes}


def is_loopback(address: str) -> bool:
    """127.0.0.0/8, the same mapped into IPv6, or ::1; /proc writes each 32-bit word in little-endian order."""
    mapped = address.removeprefix("0000000000000000FFFF0000")
    return (len(mapped) == 8 and mapped.endswith("7F")) or address == "00000000000000000000000001000000"
