"""The record of an encoding model: the fields of encoding.json (filled by `description`), checked when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from cinevox.files import io
from cinevox.measured.responses import Block, Columns
from cinevox.project.params import Base, FeatureMap, Features, Network, Section, Track
from cinevox.project.params.names import Name
from cinevox.scoring import claims
from cinevox.statistics.metrics import PLAIN, Measure
from cinevox.stimuli.frames import Clip
from cinevox.stimuli.videos.frame_times import LENGTH_TOLERANCE

FILE = "encoding.json"
IMAGES = ("mean", "standard deviation", "size")


class FrameSettings(Section):
    """Frames of a clip: how many, their height and width, and how they come to that size."""

    count: int
    size: int
    resize: Literal["direct", "crop"]


class SpaceInput(Section):
    """A feature space as the model is given it.

    map: the part of the network's output that it is made from
    shape: of what the model is given of a clip: components where the space has some, else the values of the map
    """

    map: FeatureMap
    shape: list[int]


class Source(Section):
    """A network in front of the model: the steps that a clip goes through to the feature spaces that come from it.

    settings: of the network, in the parameters; weights: which they were, by checksum
    images: mean, standard deviation and size of its pictures; configuration: what files beside its weights said
    base: of transfer networks; inputs: feature space -> what the model is given of it
    """

    network: str
    title: str
    settings: Network
    weights: dict[str, Any]
    images: tuple[tuple[float, float, float], tuple[float, float, float], int]
    configuration: dict[str, Any]
    frames: FrameSettings
    features: Features
    base: Base | None
    inputs: Annotated[dict[str, SpaceInput], Field(min_length=1)]

    def differences(self, sidecar: Mapping[str, Any]) -> list[str]:
        """List how the network of now is another than the model was fitted with. sidecar: its, as `Extraction` has it

        Values of a configuration that only now are there are those of another version of the library.
        """
        was = dict(zip(IMAGES, self.images)) | self.configuration
        now = dict(zip(IMAGES, sidecar["images"])) | sidecar.get("configuration", {})
        was, now = io.as_read(was), io.as_read(now)
        return [f"{key} is {now.get(key)} and was {value}" for key, value in was.items() if now.get(key) != value]


class Region(Section):
    """An ROI of a subject.

    normalized_correlation, correlation, ceiling: means over its scored voxels on the split that counts, None where
        there is none. Without repetitions there is no ceiling: all voxels are scored, by plain correlations alone
    n_scored: voxels that are scored
    low, median, high: 5th, 50th and 95th percentile of the predicted mean response over the clips of `About.usual`
    """

    subject: Name
    roi: Name
    n_voxels: int
    n_scored: int
    normalized_correlation: float | None
    correlation: float | None
    ceiling: float | None
    low: float
    median: float
    high: float

    @property
    def score(self) -> float | None:
        return self.correlation if self.normalized_correlation is None else self.normalized_correlation


class StoredGrid(Section):
    """The volume that whole-brain voxels lie in; affine: voxel indices to millimetres of `space` (`datasets.Grid`)."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, float, float, float], ...]
    space: str = "MNI152"


class MadeFrom(Section):
    """The versions that a model was made from; commit: of the code, None outside git."""

    commit: str | None
    dirty: bool
    params_hash: str
    data_hash: str


class About(Section):
    """An encoding model without its numbers.

    sources: the networks in front of it, each once
    split: whose scores say how far to trust it; measure: what those are
    chosen_here: whether its clips also chose the model
    usual: the clips whose predictions are the usual range; n_usual: how many they are
    n_clips: that it was fitted on; seconds: length of the shortest and the longest training clip, 0 of a still image
    chosen: ROI -> space -> share of voxels
    restricted: whether the data set may not be passed on
    stimuli: the word for the data set's, `clips` or `stimuli` (`response_store.Study`)
    """

    row: str
    track: Track
    features: str
    regressor: str
    sources: Annotated[list[Source], Field(min_length=1)]
    regions: list[Region]
    split: str
    measure: Measure
    chosen_here: bool
    usual: Literal["test", "validation"]
    n_usual: int
    fitted_on: list[str]
    n_clips: int
    seconds: tuple[float, float]
    chosen: dict[str, dict[str, float]]
    units: str
    dataset: str
    in_silico: bool
    restricted: bool
    stimuli: str = "clips"
    grid: StoredGrid | None
    made: MadeFrom

    @property
    def columns(self) -> Columns:
        return Columns(tuple(Block(region.subject, region.roi, region.n_voxels) for region in self.regions))

    @property
    def shapes(self) -> dict[str, list[int]]:
        """Feature space -> shape of what the model is given of a clip."""
        return {space: given.shape for source in self.sources for space, given in source.inputs.items()}

    @property
    def frames(self) -> tuple[FrameSettings, ...]:
        """The frames that its networks are shown, each setting once."""
        return tuple(dict.fromkeys(source.frames for source in self.sources))

    @property
    def cautions(self) -> list[str]:
        """Why its predictions may be no statement about a brain, or a weaker one, a sentence each."""
        untrained = any(source.weights.get("policy") == "random" for source in self.sources)
        plain = self.measure == PLAIN
        found = claims.cautions(untrained, self.in_silico, self.split, self.chosen_here, plain, self.stimuli)
        return [caution.sentence for caution in found]

    def cautions_for(self, clip: Clip) -> list[str]:
        """Why its prediction for one clip may be a weaker statement than for the training clips, a sentence each."""
        said = [f"{clip.name}: {note}." for note in clip.notes]
        is_still = clip.seconds is None and clip.n_decoded == 1
        if clip.seconds is None and not is_still:  # the file does not say
            return said
        seconds, (shortest, longest) = clip.seconds or 0.0, self.seconds
        if not (1 - LENGTH_TOLERANCE) * shortest <= seconds <= (1 + LENGTH_TOLERANCE) * longest:
            it = "is a still image" if is_still else f"lasts {seconds:.3g} s"
            usual = f"{shortest:.3g}" + (f" to {longest:.3g}" if f"{shortest:.3g}" != f"{longest:.3g}" else "")
            they = f"clips of {usual} s" if longest else "still images"
            said.append(
                f"{clip.name}: it {it}, and the model was fitted to {they}: what it says of this one is a guess."
            )
        return said

    @property
    def usual_range(self) -> str:
        """The clips that the usual range of predictions is of, in words."""
        fit = "" if self.usual == "test" else ", predicted by a fit without them"
        return f"{self.n_usual} {self.usual} {self.stimuli}{fit}"

    @property
    def measured_on(self) -> str:
        """The clips whose scores say how far to trust it."""
        return f"{self.stimuli} of the outer folds" if self.split == "nested" else f"{self.split} {self.stimuli}"


def parse(content: Any, path: Path) -> About:
    """The description in a parsed encoding.json.

    Raises
    ------
    FileError
        It is not one.
    """
    try:
        return About.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'the whole'}: {e['msg']}" for e in error.errors()[:5])
        raise io.FileError(
            f"{path}: no description of an encoding model ({wrong}); make it again: `dvc repro encoding@<row>`"
        ) from None
