"""The paths of a run, the only place where one is spelled (dvc.yaml spells them once more; a test compares)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """Every file and folder of a run, from the repository's root."""

    root: Path = Path()

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def paper_params(self) -> Path:
        return self.root / "params.paper.yaml"

    @property
    def lock(self) -> Path:
        return self.root / "dvc.lock"

    @property
    def data(self) -> Path:
        return self.root / "data"

    def source_code(self, stage: str, instance: str = "") -> Path:
        """Hashes of the modules that a stage's instance can load."""
        folder = self.data / "source_code"
        return folder / stage / f"{instance}.json" if instance else folder / f"{stage}.json"

    @property
    def versions(self) -> Path:
        """Versions of Python and of the packages that are installed now."""
        return self.data / "versions.json"

    def simulation(self, dataset: str) -> Path:
        return self.data / dataset

    @property
    def validation(self) -> Path:
        return self.data / "validation"

    def conversion(self, part: str) -> Path:
        return self.data / "conversion" / part

    @property
    def checks(self) -> Path:
        return self.data / "checks"

    def frames(self, count: int) -> Path:
        return self.data / "frames" / str(count)

    def features(self, network: str) -> Path:
        return self.data / "features" / network

    def reduction(self, network: str) -> Path:
        return self.data / "reduction" / network

    def components(self, network: str, part: str, named: bool = False) -> Path:
        """Principal components of a network's layers, or of the named spaces on them, by one fit (Partition.folder)."""
        return self.reduction(network) / part / ("spaces" if named else "")

    def ceiling(self, track: str) -> Path:
        return self.data / "ceiling" / track

    def base(self, name: str) -> Path:
        return self.data / "bases" / name

    @property
    def ensembles(self) -> Path:
        """Results of rows that are made of other rows: apart, as no stage can depend on a folder that it writes to."""
        return self.data / "ensembles"

    def _of_rows(self, row: str) -> Path:
        return self.ensembles if row.endswith("-ensemble") else self.data

    def predictions(self, row: str) -> Path:
        """The output of `fits`, `transfer` or `ensembles`: predictions in one format, and what else these left."""
        return self._of_rows(row) / "predictions" / row

    def checkpoints(self, row: str) -> Path:
        """The weights of a row's transfer networks, those that `transfer.keep_weights` keeps."""
        return self.predictions(row) / "checkpoints"

    def scores(self, row: str) -> Path:
        return self._of_rows(row) / "scores" / row

    def selection(self, row: str) -> Path:
        return self._of_rows(row) / "selection" / row

    def metrics(self, row: str) -> Path:
        """Metrics of a row, or the counts that `validation` and `checks` found."""
        return self.root / "metrics" / f"{row}.json"

    @property
    def baseline(self) -> Path:
        return self.root / "metrics" / "baseline.json"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def submission(self, track: str) -> Path:
        return self.root / "submission" / f"{track}_track.zip"

    def encoding(self, row: str) -> Path:
        return self.data / "encoding" / row

    def responses(self, row: str) -> Path:
        """Return the path where `cinevox predict` writes unless told otherwise; it is no DVC output."""
        return self.root / "predictions" / row

    @property
    def gate(self) -> Path:
        return self.root / "gate"

    @property
    def unfinished(self) -> Path:
        """Work a killed stage left behind and takes up again; never a DVC output."""
        return self.root / "tmp" / "unfinished"

    @property
    def memo(self) -> Path:
        """A folder that saves the next run some work and can be deleted; never a DVC output."""
        return self.root / "tmp" / "memo"

    @property
    def cluster(self) -> Path:
        """The folder of the address and keys of `cinevox cluster`, and of its jobs' logs; never a DVC output."""
        return self.root / "tmp" / "cluster"
