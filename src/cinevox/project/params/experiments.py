"""The experiments of a run: bases, heads, transfer networks and the rows of the paper's tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from cinevox.errors import InputError
from cinevox.project.params.forms import LIST, MAPPING, VALUE, Float, Int, by_form
from cinevox.project.params.names import Name
from cinevox.project.params.sections import Positive, Section, Seed, Share, Track

BASE_GRAMMAR = re.compile(r"frozen|tuned(?P<n_tuned>[1-9])")
FEATURES_GRAMMAR = re.compile(r"(?P<group>layer|pair|all)(?P<raw>_raw)?(?:_poly(?P<degree>[2-9]))?")

Together = Literal["each", "concat", "banded", "stack", "mean"]
ENSEMBLE = "ensemble"  # what stands where other rows' names have their regressor

Names = Annotated[list[str], Field(min_length=1)]
NameOrNames = Annotated[
    Annotated[str, VALUE] | Annotated[Names, LIST], by_form("the name of a space, or a list of names")
]

OnBase = TypeVar("OnBase", "Base", "RoiwiseRow")


def _known_base(section: OnBase) -> OnBase:
    """The check of a base and of a row on one: `features` is a word of BASE_GRAMMAR."""
    if not BASE_GRAMMAR.fullmatch(section.features):
        raise ValueError(
            f"features is {section.features!r}; expected frozen, or tuned1, tuned2, ... "
            "where so many of the base's last blocks are trained too"
        )
    return section


class Base(Section):
    """The part of a network under the heads: whose activations of every frame are kept."""

    network: Name
    features: str
    n_frames: Positive

    _known_grammar = model_validator(mode="after")(_known_base)

    @property
    def name(self) -> str:
        return f"{self.network}-{self.features}"

    @property
    def n_tuned(self) -> int:
        """Number of last blocks that are trained too."""
        match = BASE_GRAMMAR.fullmatch(self.features)
        return int(match["n_tuned"] or 0) if match else 0


class Head(Section):
    """The layers that are trained on top of a base, for every ROI of every subject."""

    lstm: list[Positive]
    voxel_lstm: bool
    fully_connected: list[Positive]
    lstm_dropout: Share
    dropout: Share
    sequence: Literal["frame", "clip"]
    standardize: bool


class Transfer(Section):
    n_epochs: Positive
    batch_clips: Annotated[Int, Field(ge=2)]
    learning_rate: Annotated[Float, Field(gt=0)]
    mse_weight: Annotated[Float, Field(ge=0)]
    voxel_weights: Literal["equal", "reliability"]
    patience: Positive | None
    rois_at_once: Positive
    compute: Literal["float32", "bfloat16"]
    device: Literal["auto", "cpu", "cuda", "mps"]
    keep_weights: Literal["none", "best", "all"]
    seed: Seed

    def check_repetitions(self, n_repetitions: int) -> None:
        """Refuse weights that so many repetitions of the training clips can't give.

        Raises
        ------
        InputError
            Voxels are weighted by their reliability, and clips were shown once.
        """
        if self.voxel_weights == "reliability" and n_repetitions < 2:
            raise InputError(
                "transfer.voxel_weights is reliability, and training clips were shown once, so the reliability of a "
                "voxel is not known; set it to equal"
            )


class Row(Section):
    """One line of a table: what is fitted to which responses.

    group: the part of params.experiments that rows of its kind stand in
    """

    group: ClassVar[str]
    track: Track
    regressor: Name
    reported: Float | None

    @property
    def name(self) -> str:
        return f"{self.track}-{self.stands_on}-{self.way}-{self.regressor}"

    @property
    def stands_on(self) -> str:
        """The network that predicts, or the label of a row with spaces of several."""
        raise NotImplementedError

    @property
    def way(self) -> str:
        """The way in which features stand together: the paper's word for it, or `together` of named spaces."""
        raise NotImplementedError

    @property
    def base(self) -> str | None:
        """The base that its transfer networks stand on; None where a regressor is fitted to feature spaces."""
        return None

    @property
    def is_transfer(self) -> bool:
        """Whether transfer networks predict, one for each ROI of each subject, and not a regressor."""
        return self.base is not None

    def instance(self, step: str) -> str:
        """The name, in dvc.yaml, of the row's instance of a step that rows of all kinds have (scores, selection)."""
        return f"{step}{'' if self.group == 'voxelwise' else f'-{self.group}'}@{self.name}"


class NetworkRow(Row):
    """A line of the paper's tables: one network, and a word for which of its layers."""

    network: Name
    features: str

    @property
    def stands_on(self) -> str:
        return self.network

    @property
    def way(self) -> str:
        return self.features


class VoxelwiseRow(NetworkRow):
    """A regressor on each candidate feature space of a network."""

    group = "voxelwise"

    @model_validator(mode="after")
    def _known_grammar(self) -> VoxelwiseRow:
        if not FEATURES_GRAMMAR.fullmatch(self.features):
            raise ValueError(
                f"features is {self.features!r}; expected layer, pair or all, "
                "then _raw for no PCA, then _poly2 for polynomial terms (layer, all_raw, pair_poly2)"
            )
        return self


class RoiwiseRow(NetworkRow):
    """A transfer network per ROI; its regressor is a head, its features a frozen or partly tuned base."""

    group = "roiwise"

    _known_grammar = model_validator(mode="after")(_known_base)

    @property
    def base(self) -> str:
        return f"{self.network}-{self.features}"


class LabelledRow(Row):
    """A row of spaces or of rows together.

    label: a name for them, a part of the row's name
    """

    label: Name
    together: str

    @property
    def stands_on(self) -> str:
        return self.label

    @property
    def way(self) -> str:
        return self.together


class JointRow(LabelledRow):
    """A regressor on named feature spaces, of any networks.

    spaces: their names; or ROI -> the one it has, or several side by side, as they are: then nothing is chosen
    together: each (candidates of the selection) | concat (side by side) | banded (side by side, with a penalty of its
        own for each) | stack (a model for each, combined for every voxel by weights) | mean (of those models)
    """

    group = "joint"
    spaces: Annotated[
        Annotated[Names, LIST] | Annotated[dict[str, NameOrNames], MAPPING],
        by_form("a list of names of spaces, or ROI: name for every ROI"),
    ]
    together: Together

    @property
    def fixed(self) -> dict[str, tuple[str, ...]]:
        """ROI -> the spaces that it has side by side; empty where the selection chooses."""
        given = self.spaces if isinstance(self.spaces, dict) else {}
        return {roi: (names,) if isinstance(names, str) else tuple(names) for roi, names in given.items()}

    @property
    def given(self) -> dict[str, str]:
        """ROI -> the name of the candidate that its own spaces make; empty where the selection chooses."""
        return {roi: "+".join(names) for roi, names in self.fixed.items()}

    @property
    def named(self) -> tuple[str, ...]:
        """The names of spaces that stand in it, each once where ROIs share one."""
        if not isinstance(self.spaces, dict):
            return tuple(self.spaces)
        return tuple(dict.fromkeys(name for names in self.fixed.values() for name in names))


class EnsembleRow(LabelledRow):
    """The predictions of other rows together, each with the feature spaces that it chose.

    rows: the members' names
    together: mean | stack (weights for every voxel, chosen on the validation clips) | paste (into a row of the whole
        brain the predictions of a mini-track row, where its voxels lie)
    """

    group = "ensembles"
    rows: Annotated[list[str], Field(min_length=2)]
    together: Literal["mean", "stack", "paste"]
    regressor: Literal["ensemble"]


class Experiments(Section):
    voxelwise: dict[str, VoxelwiseRow]
    roiwise: dict[str, RoiwiseRow]
    joint: dict[str, JointRow]
    ensembles: dict[str, EnsembleRow]

    @model_validator(mode="after")
    def _names_say_what_rows_are(self) -> Experiments:
        wrong = [f"{key} is {row.name}" for key, row in self.rows.items() if key != row.name]
        names = Counter(name for group in self._groups for name in group)
        if twice := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"{', '.join(sorted(twice))} stands in two groups; remove it from one of them")
        if wrong:
            raise ValueError(
                "a row's key is <track>-<network>-<features>-<regressor>, of joint rows "
                "<track>-<label>-<together>-<regressor>, of ensembles <track>-<label>-<together>-ensemble; "
                + "; ".join(wrong)
            )
        return self

    @property
    def _groups(self) -> tuple[Mapping[str, Row], ...]:
        return (self.voxelwise, self.roiwise, self.joint, self.ensembles)

    @property
    def rows(self) -> dict[str, Row]:
        """Every row; ensembles come after their members."""
        return {name: row for group in self._groups for name, row in group.items()}


def row_of(provenance: Mapping[str, Any]) -> Row:
    """The row that a file's provenance is of, without what the paper reports of it; a KeyError where it is of none."""
    kind: type[Row] = EnsembleRow if "rows" in provenance else JointRow
    if "together" not in provenance:
        kind = VoxelwiseRow if FEATURES_GRAMMAR.fullmatch(provenance["features"]) else RoiwiseRow
    return kind(**{name: provenance[name] for name in kind.model_fields if name != "reported"}, reported=None)
