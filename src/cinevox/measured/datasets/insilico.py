"""In-silico data: simulated responses in the layout of Algonauts 2021, with the truth beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cinevox.measured.datasets import DatasetSpec
from cinevox.measured.datasets.algonauts2021 import EXPECTED, Algonauts2021, open_as
from cinevox.project import params as settings

NAME = "insilico"


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
        Parts are missing: the simulation has not run, or the folder is another data set's.
    """
    cure = "`dvc repro simulation` makes it"
    if wanted.folder.name != NAME:
        cure = (
            f"it was looked for as {NAME}, which `dvc repro simulation` makes in data/{NAME}; if it is another data "
            "set, name that: `--dataset algonauts2021` (make: DATASET=algonauts2021), or dataset.name in params.yaml"
        )
    return open_as(InSilico, wanted, cure)


SPEC = DatasetSpec(
    title="In-silico",
    open=open_folder,
    licence="made here, free to use",
    restricted=False,
    simulated=True,
    expected=replace(EXPECTED, n_repetitions=None),  # as many as params.simulation asks for
)
