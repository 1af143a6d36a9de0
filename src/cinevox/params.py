"""The parameters of a run: the only reader of params.yaml.

One frozen model per section, one section per step. Unknown keys are refused, and every error is reported
together, by its dotted name. What a parameter means is said once, in params.yaml beside its value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cinevox.errors import InputError

MINI_ROIS = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")
WHOLE_BRAIN = "WB"

Fraction = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Scalar = float | int | str | bool | None | list[float] | list[str]
Options = dict[str, Scalar]
Weights = Literal["package", "pretrained", "file", "random"]
Track = Literal["mini", "full"]

BASE_GRAMMAR = re.compile(r"frozen|tuned(?P<n_tuned>[1-9])")
FEATURES_GRAMMAR = re.compile(r"(?P<group>layer|pair|all)(?P<raw>_raw)?(?:_poly(?P<degree>[2-9]))?")


class ParamsError(InputError):
    """The parameters are unusable; the message lists every fault."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Dataset(Section):
    name: str
    folder: Path
    clips: str
    responses: str
    tracks: Annotated[list[Track], Field(min_length=1)]
    subjects: Annotated[list[str], Field(min_length=1)]
    rois: Annotated[list[str], Field(min_length=1)]

    def track_rois(self, track: Track) -> tuple[str, ...]:
        return tuple(self.rois) if track == "mini" else (WHOLE_BRAIN,)


class Simulation(Section):
    datasets: list[str]
    seed: Seed
    n_subjects: Annotated[int, Field(ge=1, le=10)]
    n_train: Annotated[int, Field(ge=20)]
    n_test: Annotated[int, Field(ge=10)]
    n_train_repetitions: Annotated[int, Field(ge=2)]
    n_test_repetitions: Annotated[int, Field(ge=2)]
    voxel_fraction: Annotated[float, Field(gt=0, le=1)]
    min_voxels: Positive
    null_fraction: Annotated[float, Field(ge=0, lt=1)]
    network: str
    weights: Literal["package", "pretrained", "random"]
    n_frames: Positive
    n_latents: Positive
    n_leading: Positive
    generators: dict[str, str]

    @model_validator(mode="after")
    def _every_roi_has_a_generator(self) -> Simulation:
        if set(self.generators) != set(MINI_ROIS):
            raise ValueError(f"generators must name each of {', '.join(MINI_ROIS)} once")
        return self

    @model_validator(mode="after")
    def _enough_to_choose_from(self) -> Simulation:
        if not self.n_latents <= self.n_leading < self.n_train:
            raise ValueError(
                f"n_leading is {self.n_leading}; expected at least n_latents ({self.n_latents}) "
                f"and less than n_train ({self.n_train})"
            )
        return self


class Validation(Section):
    clip_size: tuple[Positive, Positive]
    clip_seconds: tuple[float, float]
    fps: tuple[float, float]
    n_repetitions: Annotated[int, Field(ge=2)]
    min_split_half: Annotated[float, Field(ge=-1, le=1)]


class Splits(Section):
    scheme: Literal["random", "last"]
    validation_fraction: Fraction
    n_folds: Annotated[int, Field(ge=2)]
    seed: Seed


class Frames(Section):
    counts: Annotated[list[Positive], Field(min_length=1)]
    size: Annotated[int, Field(ge=32)]
    resize: Literal["direct", "crop"]


class Network(Section):
    weights: Weights
    file: Path | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None
    n_frames: Positive
    seed: Seed

    @model_validator(mode="after")
    def _a_file_where_it_is_used(self) -> Network:
        if (self.weights == "file") != (self.file is not None):
            raise ValueError("file must be a path with weights: file, and null otherwise")
        return self


class Features(Section):
    over_frames: Literal["mean", "max", "none"]
    batch_size: Positive
    device: Literal["auto", "cpu", "cuda", "mps"]
    compute: Literal["float32", "bfloat16", "float16"]
    storage: Literal["float32", "float16"]
    memory_format: Literal["channels_last", "contiguous"]


class Reduction(Section):
    n_components: Positive
    standardize: bool
    normalize: bool


class Ceiling(Section):
    policy: Literal["exclude", "floor"]
    min_reliability: Fraction


class Fits(Section):
    batch_voxels: Positive


class Base(Section):
    """The part of a network under the heads: whose activations of every frame are kept."""

    network: str
    features: str
    n_frames: Positive

    @model_validator(mode="after")
    def _known_grammar(self) -> Base:
        _check_base(self.features)
        return self

    @property
    def name(self) -> str:
        return f"{self.network}-{self.features}"

    @property
    def n_tuned(self) -> int:
        """How many of the last blocks are trained too."""
        match = BASE_GRAMMAR.fullmatch(self.features)
        return int(match["n_tuned"] or 0) if match else 0


class Head(Section):
    """What is trained on top of a base, for every ROI of every subject."""

    lstm: list[Positive]
    voxel_lstm: bool
    fully_connected: list[Positive]
    lstm_dropout: Share
    dropout: Share
    sequence: Literal["frame", "clip"]
    standardize: bool


class Transfer(Section):
    n_epochs: Positive
    batch_clips: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    mse_weight: Annotated[float, Field(ge=0)]
    voxel_weights: Literal["equal", "reliability"]
    patience: Positive | None
    rois_at_once: Positive
    compute: Literal["float32", "bfloat16"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    keep_weights: Literal["none", "best", "all"]
    seed: Seed


class Row(Section):
    """One line of the paper's tables: what is fitted to which responses."""

    track: Track
    network: str
    features: str
    regressor: str
    reported: float | None

    @property
    def name(self) -> str:
        return f"{self.track}-{self.network}-{self.features}-{self.regressor}"


class VoxelwiseRow(Row):
    """A regressor on each candidate feature space of a network."""

    @model_validator(mode="after")
    def _known_grammar(self) -> VoxelwiseRow:
        if not FEATURES_GRAMMAR.fullmatch(self.features):
            raise ValueError(
                f"features is {self.features!r}; expected layer, pair or all, "
                "then _raw for no PCA, then _poly2 for polynomial terms (layer, all_raw, pair_poly2)"
            )
        return self


class RoiwiseRow(Row):
    """A transfer network per ROI; its regressor is a head, its features a frozen or partly tuned base."""

    @model_validator(mode="after")
    def _known_grammar(self) -> RoiwiseRow:
        _check_base(self.features)
        return self

    @property
    def base(self) -> str:
        return f"{self.network}-{self.features}"


class Experiments(Section):
    voxelwise: dict[str, VoxelwiseRow]
    roiwise: dict[str, RoiwiseRow]

    @model_validator(mode="after")
    def _names_say_what_rows_are(self) -> Experiments:
        wrong = [f"{key} is {row.name}" for key, row in self.rows.items() if key != row.name]
        if wrong:
            raise ValueError("a row's key is <track>-<network>-<features>-<regressor>; " + "; ".join(wrong))
        return self

    @property
    def rows(self) -> dict[str, Row]:
        return {**self.voxelwise, **self.roiwise}

    def only(self, names: Iterable[str]) -> Experiments:
        """The same without the rows that are not named."""
        kept = set(names)
        groups = {group: {k: row for k, row in rows.items() if k in kept} for group, rows in self}
        return self.model_copy(update=groups)


class Scores(Section):
    n_bootstraps: Annotated[int, Field(ge=20)]
    confidence: Fraction
    seed: Seed


class Selection(Section):
    policy: Literal["validation", "one_standard_error", "paper"]


class Report(Section):
    brain_row: str | None


class Gate(Section):
    absolute: Annotated[float, Field(ge=0)]
    relative: Annotated[float, Field(ge=0)]
    use_interval: bool


class Tracking(Section):
    experiment: str
    uri: str


class Parallel(Section):
    backend: Literal["loky", "threading", "sequential", "dask"]
    n_jobs: int
    scheduler: str | None

    @model_validator(mode="after")
    def _a_scheduler_where_it_is_used(self) -> Parallel:
        if (self.backend == "dask") != (self.scheduler is not None):
            raise ValueError("scheduler must be an address with backend: dask, and null otherwise")
        return self


class Params(Section):
    """Every section of params.yaml, checked one by one and against each other."""

    dataset: Dataset
    simulation: Simulation
    validation: Validation
    splits: Splits
    frames: Frames
    networks: dict[str, Network]
    features: Features
    reduction: Reduction
    ceiling: Ceiling
    regressors: dict[str, dict[str, Scalar | dict[str, Options]]]
    fits: Fits
    bases: dict[str, Base]
    heads: dict[str, Head]
    transfer: Transfer
    experiments: Experiments
    scores: Scores
    selection: Selection
    report: Report
    gate: Gate
    tracking: Tracking
    parallel: Parallel

    @model_validator(mode="after")
    def _sections_agree(self) -> Params:
        faults = [
            f"networks.{name}.n_frames is {network.n_frames}, and frames.counts has {self.frames.counts}"
            for name, network in self.networks.items()
            if network.n_frames not in self.frames.counts
        ]
        faults += self._base_faults()
        rows = self.experiments.rows
        for name, row in rows.items():
            if row.track not in self.dataset.tracks:
                faults.append(f"row {name}: its track is not one of dataset.tracks ({', '.join(self.dataset.tracks)})")
            wanted = {"networks": row.network}
            wanted |= (
                {"heads": row.regressor, "bases": row.base}
                if isinstance(row, RoiwiseRow)
                else {"regressors": row.regressor}
            )
            if isinstance(row, RoiwiseRow) and row.features != "frozen":
                head = self.heads.get(row.regressor)
                if head is not None and head.standardize:
                    faults.append(
                        f"row {name}: heads.{row.regressor}.standardize is for a frozen base; set it to false"
                    )
            for section, key in wanted.items():
                known = sorted(getattr(self, section))
                if key not in known:
                    faults.append(f"row {name}: {key} is not a key of {section} ({', '.join(known)})")
        if self.report.brain_row is not None and self.report.brain_row not in rows:
            faults.append(f"report.brain_row is {self.report.brain_row}, which is no row of experiments")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _base_faults(self) -> Iterator[str]:
        for name, base in self.bases.items():
            if name != base.name:
                yield f"bases.{name}: a base's key is <network>-<features>, here {base.name}"
            if base.network not in self.networks:
                yield f"bases.{name}: {base.network} is not a key of networks ({', '.join(sorted(self.networks))})"
            if base.n_frames not in self.frames.counts:
                yield f"bases.{name}.n_frames is {base.n_frames}, and frames.counts has {self.frames.counts}"


def _check_base(features: str) -> None:
    if not BASE_GRAMMAR.fullmatch(features):
        raise ValueError(
            f"features is {features!r}; expected frozen, or tuned1, tuned2, ... "
            "where so many of the base's last blocks are trained too"
        )


def load(path: Path) -> Params:
    """Read and check a parameter file.

    Raises
    ------
    ParamsError
        The file is missing, is not YAML, or breaks a rule; the message lists every fault by dotted name.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run from the repository's root") from None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {error}") from None
    return parse(document, source=str(path))


def parse(document: Any, source: str) -> Params:
    """Check a parsed document; `source` names it in the error."""
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, fault['loc'])) or 'params'}: {fault['msg'].removeprefix('Value error, ')}"
            + ("" if isinstance(fault["input"], dict | Section) else f" (found {fault['input']!r})")
            for fault in error.errors()
        ]
        count = len(lines)
        raise ParamsError(f"{source}: {count} fault{'s' * (count > 1)}\n" + "\n".join(lines)) from None
