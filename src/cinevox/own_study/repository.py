"""The files of a study repository: the flow's stages as the installed package has them, and what DVC and git need.

The stages, dvc.yaml and the Makefile are copied, as DVC needs them in the repository. `.cinevox.json` has the checksum
of each copy, so that `update` replaces what nobody edited, and refuses what somebody did.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from cinevox.errors import InputError
from cinevox.files import io
from cinevox.own_study.facts import Facts
from cinevox.project import git

RECORD = ".cinevox.json"
TEMPLATES = Path(__file__).parent / "templates"
OWN = {  # templates of files that are the user's from then on -> where they go
    "README.md": "README.md", "MLproject": "MLproject", "ci.yml": ".github/workflows/ci.yml", "gitignore": ".gitignore",
    "dvcignore": ".dvcignore", "data-gitignore": "data/.gitignore", "requirements.txt": "requirements.txt",
}  # fmt: skip


def flow() -> Path:
    """The folder with stages/, dvc.yaml and params.yaml: in the installed package, or the checkout that it runs from.

    Raises
    ------
    InputError
        They are in neither.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "flow", here.parents[2]):
        if (folder / "dvc.yaml").is_file() and (folder / "stages" / "_cli.py").is_file():
            return folder
    raise InputError(f"{here}: the installed package has no stages; install cinevox again")


def copies() -> dict[str, bytes]:
    """The files of a study repository that follow the package: path -> content."""
    source = flow()
    found = {f"stages/{path.name}": path.read_bytes() for path in sorted((source / "stages").glob("*.py"))}
    text = (source / "dvc.yaml").read_text()
    found["dvc.yaml"] = text.replace("      - params.paper.yaml\n", "").encode()
    found["Makefile"] = (TEMPLATES / "Makefile").read_bytes()
    return found


def write(folder: Path, name: str, known: Facts) -> None:
    """Write everything but params.yaml and the data."""
    words = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    said = {"name": name, "known": known, "requirement": requirement(), "version": metadata.version("cinevox")}
    for template, where in OWN.items():
        text = words.from_string((TEMPLATES / template).read_text()).render(said)
        io.write_bytes(folder / where, text.encode())
    _copy(folder)
    io.folder(folder / "metrics")
    (folder / "metrics" / ".gitkeep").touch()
    if known.features:
        link = folder / "data" / "features" / known.features[0].name
        link.parent.mkdir()
        for path in known.features[0].parent.glob(f"{known.features[0].stem}.*"):  # and the ids beside a .npy file
            (link.parent / path.name).symlink_to(path)


def start(folder: Path) -> None:
    """Make it a repository of git and DVC. Without git DVC works alone."""
    has_git = git.run(folder, "init", "--quiet").returncode == 0
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    words = [sys.executable, "-m", "dvc", "init", "--quiet", *([] if has_git else ["--no-scm"])]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{folder}: `dvc init` failed: {(done.stderr or done.stdout).strip()}")
    (folder / ".dvc" / "config").write_text(
        '[core]\n    analytics = false\n    check_update = false\n[cache]\n    type = "reflink,hardlink,copy"\n'
    )
    git.run(folder, "add", ".")


def update(folder: Path) -> tuple[str, ...]:
    """Bring the copies up to date with the installed package; returns the paths that changed.

    Raises
    ------
    InputError
        This is no study repository, or copies were edited that would change.
    """
    record = folder / RECORD
    if not record.is_file():
        raise InputError(f"{record}: no such file; run `cinevox update` in a repository that `cinevox new` made")
    written, wanted = io.read_json(record)["files"], copies()
    differ = [name for name, content in wanted.items() if _digest(folder / name) != _sha(content)]
    gone = [name for name in written if name not in wanted and (folder / name).is_file()]
    if edited := [name for name in (*differ, *gone) if _digest(folder / name) not in (None, written.get(name))]:
        raise InputError(
            f"{', '.join(edited)}: edited since `cinevox new` or `cinevox update` wrote them, and the installed "
            "version has others; keep your edits elsewhere, `git checkout` these files or remove them, and update again"
        )
    for name in gone:
        (folder / name).unlink()
    if differ or gone or io.read_json(record)["version"] != metadata.version("cinevox"):
        _copy(folder)
    return (*differ, *gone)


def requirement() -> str:
    """The line of requirements.txt that installs this version of the package again."""
    direct = metadata.distribution("cinevox").read_text("direct_url.json")
    found = json.loads(direct) if direct else {}
    vcs = found.get("vcs_info")
    if vcs:
        return f"cinevox @ {vcs['vcs']}+{found['url']}@{vcs['commit_id']}"
    if str(found.get("url")).startswith("https://"):
        return f"cinevox @ {found['url']}"
    return f"cinevox=={metadata.version('cinevox')}"


def _copy(folder: Path) -> None:
    for name, content in copies().items():
        io.write_bytes(folder / name, content)
    files = {name: _sha(content) for name, content in copies().items()}
    io.write_json(folder / RECORD, {"version": metadata.version("cinevox"), "files": files})


def _digest(path: Path) -> str | None:
    return _sha(path.read_bytes()) if path.is_file() else None


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
