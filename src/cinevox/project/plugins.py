"""Plug-ins: a module's file name is its key, its `SPEC` is what it offers.

`networks`, `regressors` and `datasets` are folders of plug-ins. To add one, add a file; a name that starts
with an underscore is a helper and no plug-in. Nothing is registered and nothing happens on import.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from cinevox.errors import InputError


class PluginError(InputError):
    """A name that is no plug-in, or a plug-in without a SPEC."""


def names(package: str) -> tuple[str, ...]:
    """Keys of a package of plug-ins, such as `cinevox.stimuli.networks`, sorted."""
    path = importlib.import_module(package).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")))


def load(package: str, name: str) -> Any:
    """The SPEC of one plug-in.

    Raises
    ------
    PluginError
        There is no such file, with the names there are.
    """
    known = names(package)
    kind = package.rpartition(".")[2]
    if name not in known:
        raise PluginError(f"{kind}: there is no {name!r}; there are {', '.join(known)}")
    module = importlib.import_module(f"{package}.{name}")
    if not hasattr(module, "SPEC"):
        raise PluginError(f"{kind}/{name}.py has no SPEC; see docs/adding.md")
    return module.SPEC
