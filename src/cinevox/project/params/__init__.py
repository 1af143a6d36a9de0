"""The parameters of a run: the only reader of params.yaml.

One frozen model per section, one section per step. Unknown keys are refused, and every error is reported
together, by its dotted name. What a parameter means is said once, in params.yaml beside its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import ValidationError, model_validator

from cinevox.errors import FileError, InputError, printable
from cinevox.project.params import text
from cinevox.project.params.ensembles import ensemble_faults, submission_faults
from cinevox.project.params.experiments import (
    BASE_GRAMMAR,
    ENSEMBLE,
    FEATURES_GRAMMAR,
    Base,
    EnsembleRow,
    Experiments,
    Head,
    JointRow,
    NetworkRow,
    RoiwiseRow,
    Row,
    Together,
    Transfer,
    VoxelwiseRow,
    row_of,
)
from cinevox.project.params.forms import LIST, MAPPING, TAGS, VALUE, by_form
from cinevox.project.params.names import NAME, Name, outside
from cinevox.project.params.sections import (
    MINI_ROIS,
    WHOLE_BRAIN,
    Ceiling,
    Dataset,
    Encoding,
    Features,
    Fits,
    Frames,
    Gate,
    ImportedCeiling,
    JobQueue,
    Network,
    Options,
    Parallel,
    Reduction,
    Report,
    Scalar,
    Scores,
    Section,
    Selection,
    Simulation,
    Splits,
    Storage,
    Submission,
    Track,
    Tracking,
    Validation,
    Weights,
)
from cinevox.project.params.spaces import FeatureMap, FeatureSpace, Fields, Pool, SpaceEntry, expanded, maps
from cinevox.project.paths import Paths

__all__ = [
    "BASE_GRAMMAR", "ENSEMBLE", "FEATURES_GRAMMAR", "MINI_ROIS", "NAME", "WHOLE_BRAIN", "Base", "Ceiling", "Dataset",
    "Encoding", "EnsembleRow", "Experiments", "FeatureMap", "FeatureSpace", "Features", "Fields", "Fits", "Frames",
    "Gate", "Head", "ImportedCeiling", "JobQueue", "JointRow", "Network", "NetworkRow", "Parallel", "Params",
    "ParamsError", "Pool", "Reduction", "Report", "RoiwiseRow", "Row", "Scores", "Section", "Selection", "Simulation",
    "SpaceEntry", "Splits", "Storage", "Submission", "Together", "Track", "Tracking", "Transfer", "Validation",
    "VoxelwiseRow", "Weights", "expanded", "load", "maps", "parse", "row_of",
]  # fmt: skip


Option = Annotated[
    Annotated[Scalar, VALUE] | Annotated[Scalar, LIST] | Annotated[dict[str, Options], MAPPING], by_form("an option")
]
LONGEST_NAME = 200  # of a candidate, whose name is that of a file


class ParamsError(InputError):
    """The parameters are unusable; the message lists every fault."""


class Params(Section):
    """Every section of params.yaml, checked one by one and against each other."""

    dataset: Dataset
    simulation: Simulation
    validation: Validation
    splits: Splits
    frames: Frames
    networks: dict[Name, Network]
    features: Features
    reduction: Reduction
    spaces: dict[Name, SpaceEntry]
    ceiling: Ceiling
    regressors: dict[Name, dict[str, Option]]
    fits: Fits
    bases: dict[Name, Base]
    heads: dict[Name, Head]
    transfer: Transfer
    experiments: Experiments
    scores: Scores
    selection: Selection
    report: Report
    submission: Submission
    encoding: Encoding
    gate: Gate
    storage: Storage
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
        faults += self._space_faults()
        truth, own = self.simulation, self.networks.get(self.simulation.network)
        if truth.datasets and own is not None and own.model != truth.model:
            faults.append(
                f"simulation.model is {truth.model}, and networks.{truth.network}.model is {own.model}: one name means "
                "two networks; choose another simulation.network"
            )
        if why := outside(self.dataset.folder):
            faults.append(
                f"dataset.folder is {self.dataset.folder}; {why}; where the data lie elsewhere, make a link to them: "
                f"`ln -s FOLDER data/{self.dataset.name}`, and give data/{self.dataset.name}"
            )
        faults += self._simulation_faults()
        if (self.selection.policy == "nested") != (self.splits.n_outer_folds is not None):
            faults.append(
                f"selection.policy is {self.selection.policy} and splits.n_outer_folds is {self.splits.n_outer_folds}; "
                "expected a number of folds with nested, and null otherwise"
            )
        rows = self.experiments.rows
        faults += self._row_faults()
        if self.report.subject not in self.dataset.subjects:
            faults.append(
                f"report.subject is {self.report.subject}; expected one of {', '.join(self.dataset.subjects)}"
            )
        if self.report.brain_row is not None and self.report.brain_row not in rows:
            faults.append(f"report.brain_row is {self.report.brain_row}, which is no row of experiments")
        faults += submission_faults(self.submission, self.experiments)
        if unknown := [name for name in self.encoding.rows if name not in rows]:
            faults.append(f"encoding.rows has {', '.join(unknown)}, which is no row of experiments")
        for name in self.encoding.rows:
            if name in rows and (why := self.no_model(rows[name])):
                faults.append(f"encoding.rows has {name}, which can have no encoding model: {why}")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    def _simulation_faults(self) -> Iterator[str]:
        settings = self.simulation
        if self.dataset.folder not in map(Paths().simulation, settings.datasets):
            return
        made = [f"sub{number:02d}" for number in range(1, settings.n_subjects + 1)]
        if missing := [subject for subject in self.dataset.subjects if subject not in made]:
            yield (
                f"dataset.subjects has {', '.join(missing)}, and simulation.n_subjects is {settings.n_subjects}, which "
                f"makes {made[0]} to {made[-1]}; take them out, or make more subjects (10 at most)"
            )

    def _row_faults(self) -> Iterator[str]:
        for section in ("regressors", "heads"):
            for key in getattr(self, section):
                if key == ENSEMBLE or key.endswith(f"-{ENSEMBLE}"):
                    yield f"{section}.{key}: the name is taken by experiments.ensembles; choose another one"
        for name, row in self.experiments.rows.items():
            if row.track not in self.dataset.tracks:
                yield f"row {name}: its track is not one of dataset.tracks ({', '.join(self.dataset.tracks)})"
            if isinstance(row, EnsembleRow):
                yield from ensemble_faults(row, self.experiments)
                continue
            wanted = {"networks": row.network} if isinstance(row, NetworkRow) else {}
            wanted |= {"regressors": row.regressor} if row.base is None else {"heads": row.regressor, "bases": row.base}
            if isinstance(row, JointRow):
                yield from self._joint_faults(row)
            if row.is_transfer and row.way != "frozen":
                head = self.heads.get(row.regressor)
                if head is not None and head.standardize:
                    yield f"row {name}: heads.{row.regressor}.standardize is for a frozen base; set it to false"
            for section, key in wanted.items():
                known = sorted(getattr(self, section))
                if key not in known:
                    yield f"row {name}: {key} is not a key of {section} ({', '.join(known)})"

    def _joint_faults(self, row: JointRow) -> Iterator[str]:
        known = self.feature_spaces
        if unknown := [name for name in row.named if name not in self.spaces and name not in known]:
            yield f"row {row.name}: {', '.join(unknown)} is not in spaces ({', '.join(known) or 'there is none'})"
            return
        names = [name for given in row.named for name in self.named(given)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            yield f"row {row.name}: {', '.join(twice)} is named twice in spaces"
        if self.selection.policy == "paper" and row.together == "each" and not row.fixed and len(names) > 1:
            yield (
                f"row {row.name}: selection.policy is paper, and the paper chose among no named spaces; give each ROI "
                "its space, or set the policy to validation"
            )
        if row.together != "each" and len(names) < 2:
            yield f"row {row.name}: together is {row.together}, and there is one space; name another one, or set each"
        if row.fixed:
            yield from self._fixed_faults(row)
        kind = self.regressors.get(row.regressor, {}).get("kind", row.regressor)
        if (row.together == "banded") != (kind == "banded_ridge"):
            yield (
                f"row {row.name}: together is {row.together}, and the regressor is {row.regressor}; "
                "banded goes with banded_ridge, and banded_ridge with banded"
            )

    def _fixed_faults(self, row: JointRow) -> Iterator[str]:
        rois = self.dataset.track_rois(row.track)
        if row.together != "each" or set(row.fixed) != set(rois):
            yield (
                f"row {row.name}: spaces gives one to {', '.join(row.fixed)}, and together is {row.together}; expected "
                f"together: each, and a space for each ROI of the track ({', '.join(rois)})"
            )
        if several := [name for name in row.named if list(self.named(name)) != [name]]:
            those = ", ".join(name for entry in several for name in self.named(entry)) or "none of spaces"
            yield f"row {row.name}: {', '.join(several)} stands for {those}; name one of these for an ROI"
        if long := [roi for roi, names in row.fixed.items() if len("+".join(names)) > LONGEST_NAME]:
            yield (
                f"row {row.name}: the names of the spaces of {', '.join(long)} together are longer than {LONGEST_NAME} "
                "characters, and become the name of a file; give the spaces shorter names"
            )
        if twice := [roi for roi, names in row.fixed.items() if len({*names}) < len(names)]:
            yield f"row {row.name}: {', '.join(twice)} has a space twice; name it once"

    def _space_faults(self) -> Iterator[str]:
        for name, entry in self.spaces.items():
            if entry.network not in self.networks:
                yield f"spaces.{name}: {entry.network} is not a key of networks ({', '.join(sorted(self.networks))})"
            elif self.networks[entry.network].model == "array":
                whole = all(space.pool == "none" and space.over_frames == "mean" for _, space in entry.spaces(name))
                if not whole:
                    yield (
                        f"spaces.{name}: {entry.network} is an array that was brought, without positions and frames; "
                        "expected pool: none and over_frames: mean"
                    )

    def no_model(self, row: Row) -> str:
        """Say why a row can have no encoding model, and what to do instead; "" where it can have one."""
        if isinstance(row, EnsembleRow):
            able = [name for name in row.rows if (one := self.experiments.rows.get(name)) and not self.no_model(one)]
            return f"it is an ensemble; take one of its members that can ({', '.join(able) or 'none of them can'})"
        entries = {name: self.networks[name] for name in self.networks_of(row) if name in self.networks}
        if brought := [name for name, network in entries.items() if network.model == "array"]:
            return (
                f"it stands on features that were brought ({', '.join(brought)}), and a new clip has none; take a row "
                "on networks alone"
            )
        if row.is_transfer and self.transfer.keep_weights != "all" and len(self.dataset.blocks(row.track)) > 1:
            return (
                f"transfer.keep_weights is {self.transfer.keep_weights}, so not all of its networks are kept; set that "
                "to all"
            )
        return ""

    @property
    def feature_spaces(self) -> dict[str, FeatureSpace]:
        """Every named feature space, lists in `spaces` expanded."""
        return expanded(self.spaces)

    def named(self, given: str) -> dict[str, FeatureSpace]:
        """The spaces that a row means by a name: those of an entry of `spaces`, or one of them; none if unknown."""
        if given in self.spaces:
            return dict(self.spaces[given].spaces(given))
        known = self.feature_spaces
        return {given: known[given]} if given in known else {}

    def spaces_of(self, row: JointRow) -> dict[str, FeatureSpace]:
        """The spaces of a row, in its order."""
        return {name: space for given in row.named for name, space in self.named(given).items()}

    def networks_of(self, row: Row) -> tuple[str, ...]:
        """The networks that a row stands on."""
        if isinstance(row, JointRow):
            return tuple(dict.fromkeys(space.network for space in self.spaces_of(row).values()))
        return (row.network,) if isinstance(row, NetworkRow) else ()

    def _base_faults(self) -> Iterator[str]:
        for name, base in self.bases.items():
            if name != base.name:
                yield f"bases.{name}: a base's key is <network>-<features>, here {base.name}"
            if base.network not in self.networks:
                yield f"bases.{name}: {base.network} is not a key of networks ({', '.join(sorted(self.networks))})"
            elif self.networks[base.network].model == "array":
                yield f"bases.{name}: {base.network} is features that were brought, no network that could be one"
            if base.n_frames not in self.frames.counts:
                yield f"bases.{name}.n_frames is {base.n_frames}, and frames.counts has {self.frames.counts}"


def load(path: Path) -> Params:
    """Read and check a parameter file.

    Raises
    ------
    ParamsError
        The file is missing, is not YAML, or breaks a rule; the message lists every fault by dotted name.
    """
    try:
        document = text.read_file(path)
    except FileNotFoundError:
        raise ParamsError(f"{path}: no such file; run from the repository's root") from None
    except FileError as error:
        raise ParamsError(str(error)) from None
    return parse(document, source=str(path))


def parse(document: Any, source: str) -> Params:
    """Check a parsed document; `source` names it in the error."""
    try:
        return Params.model_validate(document)
    except ValidationError as error:
        lines = [
            f"  {_place(fault['loc'])}: {fault['msg'].removeprefix('Value error, ')}"
            + ("" if isinstance(fault["input"], dict | Section) else f" (found {fault['input']!r})")
            for fault in error.errors()
        ]
        count = len(lines)
        raise ParamsError(f"{source}: {count} fault{'s' * (count > 1)}\n" + "\n".join(lines)) from None


def _place(parts: tuple[int | str, ...]) -> str:
    """Say where a fault is, with dots; pydantic marks a faulty key by a further part."""
    return ".".join(printable(str(part)) for part in parts if part not in ("[key]", *TAGS)) or "params"
