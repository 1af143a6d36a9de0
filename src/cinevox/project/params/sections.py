"""One frozen model for each section of params.yaml that stands by itself."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cinevox.project.params.forms import Float, Int, told
from cinevox.project.params.generators import Generator, parts
from cinevox.project.params.names import Inside, Name

MINI_ROIS = ("V1", "V2", "V3", "V4", "LOC", "EBA", "FFA", "STS", "PPA")
WHOLE_BRAIN = "WB"

Fraction = Annotated[Float, Field(gt=0, lt=1)]
Positive = Annotated[Int, Field(ge=1)]
MODEL = r"^[a-z][a-z0-9_]*/\S+$"  # <library>/<name>
Seed = Annotated[Int, Field(ge=0)]
Share = Annotated[Float, Field(ge=0, lt=1)]
Scalar = Annotated[
    float | int | str | bool | list[Float] | list[str] | None,
    told("a number, a word, true, false, null, or a list of numbers or of words"),
]
Options = dict[str, Scalar]
Weights = Literal["package", "pretrained", "file", "random", "none"]
Track = Literal["mini", "full"]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TestSplit(Section):
    """The test stimuli, where they are others than the study says: one of column, file and fraction.

    column, values: of stimuli.tsv, and which of its values are of test stimuli
    file: of the study's folder splits, without .json
    fraction, seed: drawn at random
    """

    column: str | None = None
    values: list[str] | None = None
    file: Name | None = None
    fraction: Fraction | None = None
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_way(self) -> TestSplit:
        ways = [name for name in ("column", "file", "fraction") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(f"one of column, file and fraction is expected, found {' and '.join(ways) or 'none'}")
        if (self.column is None) != (self.values is None):
            raise ValueError("column and values belong together")
        return self


class Dataset(Section):
    name: Name
    folder: Path
    clips: Inside
    responses: Inside
    test: TestSplit | None
    together: str | None
    tracks: Annotated[list[Track], Field(min_length=1)]
    subjects: Annotated[list[Name], Field(min_length=1)]
    rois: Annotated[list[Name], Field(min_length=1)]
    missing_repetitions: Literal["refuse", "skip"]
    missing_rois: Literal["refuse", "skip"]

    @field_validator("clips", "responses", mode="before")
    @classmethod
    def _is_a_path(cls, value: object) -> object:
        if value is None:
            raise ValueError("expected a folder in dataset.folder, or . for all of it")
        return value

    def track_rois(self, track: Track) -> tuple[str, ...]:
        return tuple(self.rois) if track == "mini" else (WHOLE_BRAIN,)

    def blocks(self, track: Track) -> list[tuple[str, str]]:
        """Every subject and ROI of a track."""
        return [(subject, roi) for subject in self.subjects for roi in self.track_rois(track)]


class Simulation(Section):
    """An in-silico study. model: <library>/<name> where `network` is no plug-in's, a key that may be left out"""

    datasets: list[Name]
    seed: Seed
    n_subjects: Annotated[Int, Field(ge=1, le=10)]
    n_train: Annotated[Int, Field(ge=20)]
    n_test: Annotated[Int, Field(ge=10)]
    n_train_repetitions: Annotated[Int, Field(ge=2)]
    n_test_repetitions: Annotated[Int, Field(ge=2)]
    voxel_fraction: Annotated[Float, Field(gt=0, le=1)]
    min_voxels: Positive
    null_fraction: Annotated[Float, Field(ge=0, lt=1)]
    network: Name
    weights: Literal["package", "pretrained", "random"]
    n_frames: Positive
    n_latents: Positive
    n_leading: Positive
    generators: dict[str, Generator]
    model: Annotated[str, Field(pattern=MODEL)] | None = None

    @property
    def listened_to(self) -> Network:
        """The network as an entry of `networks` has it."""
        return Network(
            weights=self.weights, file=None, sha256=None, n_frames=self.n_frames, seed=self.seed, model=self.model
        )

    @model_validator(mode="after")
    def _every_roi_has_a_generator(self) -> Simulation:
        if set(self.generators) != set(MINI_ROIS):
            raise ValueError(f"generators must name each of {', '.join(MINI_ROIS)} once")
        return self

    @property
    def driving(self) -> tuple[str, ...]:
        """The generators in use, each once, in the order of the ROIs; the truth counts them in this order."""
        return tuple(dict.fromkeys(self.generators[roi] for roi in MINI_ROIS))

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of these generators, each once."""
        return tuple(dict.fromkeys(part for word in self.driving for part in parts(word)))

    @model_validator(mode="after")
    def _enough_to_choose_from(self) -> Simulation:
        if not self.n_latents <= self.n_leading < self.n_train:
            raise ValueError(
                f"n_leading is {self.n_leading}; expected at least n_latents ({self.n_latents}) "
                f"and less than n_train ({self.n_train})"
            )
        return self


class Validation(Section):
    clip_size: tuple[Positive, Positive] | None
    clip_seconds: tuple[Float, Float] | None
    fps: tuple[Float, Float] | None
    n_repetitions: Positive | None
    min_split_half: Annotated[Float, Field(ge=-1, le=1)]


class Splits(Section):
    scheme: Literal["random", "last"]
    validation_fraction: Fraction
    n_folds: Annotated[Int, Field(ge=2)]
    n_outer_folds: Annotated[Int, Field(ge=3)] | None
    seed: Seed


class Frames(Section):
    counts: Annotated[list[Positive], Field(min_length=1)]
    size: Annotated[Int, Field(ge=32)]
    resize: Literal["direct", "crop"]


class Network(Section):
    """A network as a run uses it. model: <library>/<name> where it is no plug-in's, a key that may be left out"""

    weights: Weights
    file: Path | None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None
    n_frames: Positive
    seed: Seed
    model: Annotated[str, Field(pattern=f"^array$|{MODEL}")] | None = None

    @model_validator(mode="after")
    def _a_file_where_it_is_used(self) -> Network:
        if self.model == "array" and (self.weights != "none" or self.file is None):
            raise ValueError("with model: array, weights must be none and file the path of the arrays")
        if self.model != "array" and (self.weights == "file") != (self.file is not None):
            raise ValueError("file must be a path with weights: file or model: array, and null otherwise")
        if self.sha256 is not None and (self.weights == "random" or (self.weights == "none" and self.file is None)):
            raise ValueError(f"sha256 is given, and weights: {self.weights} reads no file; set it to null")
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
    min_spread: Share | None
    normalize: bool

    @model_validator(mode="after")
    def _a_floor_where_features_are_divided(self) -> Reduction:
        if self.standardize != (self.min_spread is not None):
            raise ValueError(
                f"standardize is {str(self.standardize).lower()} and min_spread is {self.min_spread}; expected null "
                "without standardize, and with it a share from 0 (plain z-scores) to 1"
            )
        return self


class ImportedCeiling(Section):
    """A ceiling of the study's own: the column `ceiling:<column>` of its units, and what the numbers in it are.

    holds: ncsnr (signal-to-noise ratio of a trial), nc_trial or nc_mean (percent of variance that can be explained in
        trials, or in the means over repetitions), reliability (of these means, 0 to 1)
    """

    column: Annotated[str, Field(min_length=1)]
    holds: Literal["ncsnr", "nc_trial", "nc_mean", "reliability"]

    @property
    def most(self) -> float:
        """The number that stands for all of the variance."""
        return {"ncsnr": math.inf, "nc_trial": 100.0, "nc_mean": 100.0, "reliability": 1.0}[self.holds]


class Ceiling(Section):
    """imported: split -> the study's own ceiling of it; n_bootstraps: 0 for no intervals"""

    method: Literal["split_half", "ncsnr", "analytic", "schoppe", "imported"]
    imported: dict[Literal["validation", "test"], ImportedCeiling] | None
    n_bootstraps: Annotated[int, Field(ge=0)]
    policy: Literal["exclude", "floor"]
    min_reliability: Fraction

    @property
    def estimator(self) -> str:
        """How ceilings are estimated: the method, and for splits that imported ceilings leave out split halves."""
        return "split_half" if self.method == "imported" else self.method

    @model_validator(mode="after")
    def _imported_where_it_is_used(self) -> Ceiling:
        if (self.method == "imported") != bool(self.imported):
            raise ValueError(
                "with method: imported, imported must name the study's ceilings, as in "
                "{test: {column: ncsnr, holds: ncsnr}}, and with another method be null"
            )
        return self


class Fits(Section):
    batch_voxels: Positive


class Scores(Section):
    n_bootstraps: Annotated[Int, Field(ge=20)]
    n_permutations: Annotated[Int, Field(ge=20)]
    confidence: Fraction
    seed: Seed


class Selection(Section):
    policy: Literal["validation", "nested", "one_standard_error", "paper"]
    per: Literal["roi", "subject", "voxel"]

    @model_validator(mode="after")
    def _a_policy_that_can(self) -> Selection:
        able = {
            "roi": None,
            "subject": ("validation", "nested", "one_standard_error"),
            "voxel": ("validation", "nested"),
        }
        allowed = able[self.per]
        if allowed is not None and self.policy not in allowed:
            raise ValueError(f"per: {self.per} goes with the policies {', '.join(allowed)}; policy is {self.policy}")
        return self


class Report(Section):
    brain_row: str | None
    subject: str


class Submission(Section):
    rows: dict[Track, str]
    ensembles: dict[Track, str]
    constant: Literal["roi_mean", "refuse"]

    @property
    def every(self) -> dict[Track, str]:
        """Track -> the row that is handed in, of whichever kind."""
        return self.rows | self.ensembles


class Encoding(Section):
    rows: list[str]


class Gate(Section):
    absolute: Annotated[Float, Field(ge=0)]
    relative: Annotated[Float, Field(ge=0)]
    use_interval: bool


class Storage(Section):
    remote: Literal["", "private"]


class Tracking(Section):
    experiment: Name
    uri: str


class JobQueue(Section):
    system: Literal["slurm", "pbs", "sge", "lsf"]
    jobs: Positive
    cores: Positive
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)? ?[KMGT]i?B$")]
    walltime: str
    queue: str | None
    account: str | None
    interface: str | None
    directives: list[str]
    prologue: list[str]

    @field_validator("walltime", mode="before")
    @classmethod
    def _a_time(cls, walltime: object) -> object:
        # YAML reads 12:00:00 without quotes as the number 43200
        if not isinstance(walltime, str) or not re.fullmatch(r"\d+:[0-5]\d:[0-5]\d", walltime):
            raise ValueError('expected hours:minutes:seconds in quotes, such as "04:00:00"')
        return walltime

    @model_validator(mode="after")
    def _a_time_that_can_be_asked_for(self) -> JobQueue:
        if self.seconds == 0 or (self.system == "lsf" and self.seconds % 60):
            raise ValueError(f"walltime is {self.walltime}; expected more than nothing, and whole minutes with lsf")
        return self

    @property
    def seconds(self) -> int:
        hours, minutes, seconds = map(int, self.walltime.split(":"))
        return 3600 * hours + 60 * minutes + seconds


class Parallel(Section):
    backend: Literal["loky", "threading", "sequential", "dask"]
    n_jobs: Int
    scheduler: str | None
    jobqueue: JobQueue | None

    @field_validator("n_jobs")
    @classmethod
    def _a_number_of_workers(cls, n_jobs: int) -> int:
        if n_jobs != -1 and n_jobs < 1:
            raise ValueError("expected -1 (every core) or at least 1")
        return n_jobs

    @model_validator(mode="after")
    def _a_cluster_where_it_is_used(self) -> Parallel:
        given = [name for name in ("scheduler", "jobqueue") if getattr(self, name) is not None]
        if len(given) != (self.backend == "dask"):
            raise ValueError(
                "with backend: dask, either scheduler must be an address or jobqueue say what jobs to ask for; with "
                f"another backend both must be null (backend is {self.backend}, given: {', '.join(given) or 'neither'})"
            )
        return self
