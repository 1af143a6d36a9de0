"""Tell how a state dict differs from the one that a network has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class StateDictFit:
    """One state dict of a file, and how it differs from the network's.

    place: the entry of the file that holds it, such as ['state_dict']
    prefix: of most of its names, before the network's own
    state: its entries, without a prefix that all of them have
    n_names: how many there are; n_known: how many are the network's; n_expected: entries of the network
    faults: kind -> entries; classes: of the file and of the network, where nothing else differs
    """

    place: str
    prefix: str
    state: State
    n_names: int
    n_known: int
    n_expected: int
    faults: dict[str, list[str]]
    classes: tuple[int, int] | None

    @classmethod
    def of(cls, place: str, state: State, module: nn.Module) -> StateDictFit:
        expected = module.state_dict()
        counts = Counter({"": 0})
        for key in state:
            parts = key.split(".")
            heads = [sum(len(part) + 1 for part in parts[:count]) for count in range(len(parts))]
            counts.update(key[:head] for head in heads if key[head:] in expected)
        prefix, n_known = max(counts.items(), key=lambda item: (item[1], -len(item[0])))
        own = state
        if all(key.startswith(prefix) for key in state):
            own = {key.removeprefix(prefix): value for key, value in state.items()}
        kept = _without_buffers(own, module)
        return cls(
            place, prefix, kept, len(state), n_known, len(expected), _faults(kept, expected), _classes(kept, expected)
        )

    @property
    def unwrapped(self) -> str:
        entry = f"entry {self.place}" if self.place else "entries"
        prefix = f" without the prefix {self.prefix!r}" if self.prefix else ""
        return f"{entry}{prefix}" if self.place or self.prefix else ""


def _without_buffers(state: State, module: nn.Module) -> dict[str, torch.Tensor]:
    """Without entries that older versions of a network saved, and that it now makes by itself, of the same shape."""
    own = {key: value for key, value in module.named_buffers() if key not in module.state_dict()}
    return {key: value for key, value in state.items() if key not in own or own[key].shape != value.shape}


def _faults(state: State, expected: State) -> dict[str, list[str]]:
    """Kind of fault -> entries; kinds without any are left out. Counts of batches play no part in a forward pass."""
    counts = {key for key in expected if key.endswith("num_batches_tracked")}
    shared = [key for key in expected if key in state and key not in counts]
    misshapen = [key for key in shared if state[key].shape != expected[key].shape]
    unusual = [key for key in shared if _unusual(state[key], expected[key])]
    infinite = [
        key for key in shared
        if key not in unusual and state[key].is_floating_point() and not bool(torch.isfinite(state[key]).all())
    ]  # fmt: skip
    found = {
        "missing": sorted(expected.keys() - state.keys() - counts),
        "unexpected": sorted(state.keys() - expected.keys()),
        "wrong shape": [f"{key} {tuple(state[key].shape)}, expected {tuple(expected[key].shape)}" for key in misshapen],
        "wrong type": [f"{key} {_unusual(state[key], expected[key])}" for key in unusual],
        "NaN or infinite": infinite,
    }
    return {kind: entries for kind, entries in found.items() if entries}


def _unusual(found: torch.Tensor, expected: torch.Tensor) -> str:
    """The type of a tensor that does not stand for the numbers expected; "" if it does."""
    if found.is_meta:
        return "without numbers (on the meta device)"
    if found.is_quantized or found.layout != torch.strided:
        return f"{found.dtype}, {found.layout}".replace("torch.", "")
    if found.is_complex() or found.is_floating_point() != expected.is_floating_point():
        return str(found.dtype).removeprefix("torch.")
    return ""


def misfit(name: str, found: StateDictFit) -> str:
    """Completes "FILE ..." with how the state dict differs from the network's, and what to do."""
    kinds = tuple(found.faults)
    head, cure = "holds weights of another architecture", f"point networks.{name}.file to the right checkpoint"
    if kinds == ("wrong shape",) and found.classes:
        head = f"has scores of {found.classes[0]} classes, and this network of {found.classes[1]}"
        cure = "add a network whose build() makes so many (docs/adding.md), or fetch the original weights"
    elif found.prefix and found.n_known == found.n_expected and found.n_known < found.n_names:
        head = f"holds this network's entries under the prefix {found.prefix!r}, and others"
        cure = (
            f"save those alone: torch.save({{key: value for key, value in state.items() "
            f"if key.startswith({found.prefix!r})}}, other_path)"
        )
    elif kinds == ("missing",) and found.n_known:
        head = "lacks entries of this network"
        cure = "fetch the whole checkpoint, or add a network whose build() leaves these parts out (docs/adding.md)"
    elif kinds == ("unexpected",):
        head, cure = "holds more than this network", "save its state dict without those entries"
    elif kinds and set(kinds) <= {"wrong type", "NaN or infinite"}:
        head = "holds numbers that cannot be used"
        cure = "save the weights as finite floating-point numbers (not quantised, not sparse), or fetch the original"
    lines = [
        f"  {kind} ({len(keys)}): {', '.join(keys[:8])}{', ...' if len(keys) > 8 else ''}"
        for kind, keys in found.faults.items()
    ]
    said = f" (its {found.unwrapped})" if found.unwrapped else ""
    return (
        f"{head}{said}\n"
        + "\n".join(lines)
        + (f"\n  expected {found.n_expected} entries, found {len(found.state)}; {cure}")
    )


def _classes(state: State, expected: State) -> tuple[int, int] | None:
    """Class scores of the file and of the network, where all that differs is how many rows the last maps have."""
    differing = [key for key in expected if key in state and state[key].shape != expected[key].shape]
    rows = {(state[key].shape[:1], expected[key].shape[:1]) for key in differing}
    are_rows = all(
        key.endswith((".weight", ".bias")) and state[key].shape[1:] == expected[key].shape[1:] for key in differing
    )
    if not are_rows or len(rows) != 1:
        return None
    ((found, wanted),) = rows
    return found.numel(), wanted.numel()
