"""On PYTHONPATH beside CINEVOX_TRACE (a folder): every stage writes down the modules it loaded and the files it read.

Python imports a module of this name when it starts. Files are noticed by their opening (`open`, `os.open`, so also by
numpy's memory maps and by pandas). What a C library opens by itself is not, nor is the listing of a folder.
"""

import atexit
import json
import os
import sys
from pathlib import Path

trace, stage = os.environ.get("CINEVOX_TRACE"), os.environ.get("DVC_STAGE")

if trace and stage and any(word.startswith("stages/") for word in sys.orig_argv):
    read, written = set(), set()

    def hook(event, arguments):
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, str | bytes):
                reads = "r" in mode if mode else flags & (os.O_WRONLY | os.O_RDWR) == os.O_RDONLY
                (read if reads else written).add(os.path.relpath(os.fsdecode(path)))

    def write():
        folders = tuple(os.path.realpath(name) + os.sep for name in ("src", "stages"))
        files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
        own = {name for name, file in files.items() if file and os.path.realpath(file).startswith(folders)}
        found = {"stage": stage, "modules": sorted(own), "read": sorted(read), "written": sorted(written)}
        (Path(trace) / f"{stage}-{os.getpid()}.json").write_text(json.dumps(found))

    sys.addaudithook(hook)
    atexit.register(write)
