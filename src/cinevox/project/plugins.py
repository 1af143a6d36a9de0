"""Plug-ins: a module's file name is its key, its `SPEC` is what it offers.

Networks, libraries of networks, regressors, data sets and importers are plug-ins. To add one, add a file to their
folder; a name that starts with an underscore is a helper and no plug-in. Nothing is registered and nothing happens on
import.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Literal

from cinevox.errors import InputError

Kind = Literal["networks", "libraries", "regressors", "datasets", "importers"]

PACKAGES: dict[Kind, str] = {
    "networks": "cinevox.stimuli.networks",
    "libraries": "cinevox.stimuli.networks._libraries",
    "regressors": "cinevox.fitting.regressors",
    "datasets": "cinevox.measured.datasets",
    "importers": "cinevox.measured.importers",
}


class PluginError(InputError):
    """A name that is no plug-in, or a plug-in without a SPEC."""


def names(kind: Kind) -> tuple[str, ...]:
    """Keys of the plug-ins of a kind, sorted."""
    path = importlib.import_module(PACKAGES[kind]).__path__
    return tuple(sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_")))


def regressor_of(key: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The plug-in that a key of params.regressors means, by its `kind` or its own name, and the plug-in's options."""
    return str(options.get("kind", key)), {name: value for name, value in options.items() if name != "kind"}


def network_of(name: str, settings: Any = None) -> Any:
    """The spec of an entry of params.networks: its plug-in's, or that of the library's model which it names.

    settings: the entry; None for a plug-in that the parameters need not have

    Raises
    ------
    InputError
        There is no such plug-in, library or model.
    """
    if settings is None or settings.model is None:
        return load("networks", name)
    library, _, model = settings.model.partition("/")
    return load("libraries", library)(model, settings)


def load(kind: Kind, name: str) -> Any:
    """The SPEC of one plug-in.

    Raises
    ------
    PluginError
        There is no such file, with the names there are.
    """
    known = names(kind)
    if name not in known:
        raise PluginError(f"{kind}: there is no {name!r}; there are {', '.join(known)}")
    module = importlib.import_module(f"{PACKAGES[kind]}.{name}")
    if not hasattr(module, "SPEC"):
        raise PluginError(f"{kind}/{name}.py has no SPEC; see docs/adding.md")
    return module.SPEC
