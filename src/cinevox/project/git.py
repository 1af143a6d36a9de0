"""Git, asked here alone: without the program it is as if there were no repository.

dvc.api reads files of a revision too, but takes half a second to be imported, and knows neither commits nor hooks.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

NO_PROGRAM = 127  # as a shell says it


def run(root: Path, *words: str, asked: str | None = None) -> subprocess.CompletedProcess[bytes]:
    """Git run in a folder; asked: its standard input. Where there is no program, a failure that says so."""
    command = ["git", "-C", str(root), *words]
    try:
        return subprocess.run(command, input=(asked or "").encode(), capture_output=True, check=False)
    except OSError as error:
        told = f"git can't be run ({error.strerror}); install it"
        return subprocess.CompletedProcess(command, NO_PROGRAM, b"", told.encode())


def answer(root: Path, *words: str) -> str:
    """Return what git prints; nothing where it can't."""
    done = run(root, *words)
    return done.stdout.decode() if done.returncode == 0 else ""


def fault(root: Path) -> str | None:
    """Why git knows nothing of a folder; None where it does."""
    done = run(root, "rev-parse", "--git-dir")
    if done.returncode == NO_PROGRAM:
        return done.stderr.decode()
    return "this folder is in no git repository" if done.returncode else None
