"""SHA-256 of large files that are looked at in every run, and read only when they have changed.

A file is taken for the one of before while its path, inode, size and time stamps (of its content and of its entry, in
nanoseconds) are the same. Clocks of file systems tick in steps: an edit in the step of the last look would leave the
stamps as they were. So a file that was changed within `SETTLED` is read again the next time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cinevox.files import io

SETTLED = 3_000_000_000  # nanoseconds: some file systems keep time stamps of two seconds


@dataclass(frozen=True)
class Digests:
    """Digests of files. known: those of an earlier run; used: those of this one, for the next"""

    known: Mapping[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)

    def of(self, path: Path) -> str:
        """SHA-256 of a file. Errors as the system has them where it can't be read."""
        stat = path.stat()
        stamps = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        key = " ".join(map(str, (*stamps, path.resolve().as_posix())))
        found = self.used.get(key) or self.known.get(key) or io.sha256(path)
        if max(stat.st_mtime_ns, stat.st_ctime_ns) < time.time_ns() - SETTLED:
            self.used[key] = found
        return found


def remembered_digests(memo: Path) -> Digests:
    """The digests of an earlier run; none where the file is not there or is broken."""
    try:
        known = json.loads(memo.read_bytes())
    except (OSError, ValueError, RecursionError):
        return Digests()
    is_ours = isinstance(known, dict) and all(isinstance(digest, str) for digest in known.values())
    return Digests(known if is_ours else {})


def remember_digests(memo: Path, digests: Digests) -> None:
    """Keep the digests of this run for the next."""
    io.write_json(memo, digests.used)
