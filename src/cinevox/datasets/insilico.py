"""In-silico data: simulated responses in the layout of Algonauts 2021, with the truth beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cinevox import params as settings
from cinevox.datasets import DatasetSpec
from cinevox.datasets.algonauts2021 import Algonauts2021, open_as


@dataclass(frozen=True)
class InSilico(Algonauts2021):
    """`truth`: what generated each voxel, and its ceiling; written by the simulation, read by no step."""

    @property
    def truth(self) -> Path:
        return self.folder / "truth"


def open_folder(wanted: settings.Dataset) -> InSilico:
    """As for Algonauts 2021.

    Raises
    ------
    FileError
        Parts are missing: the simulation has not run.
    """
    return open_as(InSilico, wanted, "`dvc repro simulation` makes it")


SPEC = DatasetSpec(title="In-silico", open=open_folder, licence="made here, free to use", restricted=False)
