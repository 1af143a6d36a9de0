"""Feature spaces: what of a network's layer the regressors are given, by names that rows refer to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, field_validator

from cinevox.project.params.forms import LIST, MAPPING, VALUE, Int, by_form, told
from cinevox.project.params.names import Name
from cinevox.project.params.sections import Positive, Section

OverFrames = Literal["mean", "max", "none"]
POOLS = "none, max<k> or avg<k> for a grid of k x k fields, or {kind: ..., fields: ...}"
Grid = Annotated[str, Field(pattern=r"^(none|(max|avg)[1-9][0-9]?)$"), told(POOLS)]
INTERVALS = "groups of intervals [first, last] with 0 <= first <= last, such as [[[0, 5], [3, 10], [8, 13]], [[2, 11]]]"


class Fields(Section):
    """Receptive fields of one's own: in each group, every interval of rows with every interval of columns.

    fields: groups of intervals; the ends of an interval are 0-based positions in the layer's map and belong to it
    """

    kind: Literal["max", "avg"]
    fields: Annotated[tuple[tuple[tuple[Int, Int], ...], ...], Field(min_length=1), told(INTERVALS)]

    @field_validator("fields")
    @classmethod
    def _intervals(cls, groups: Any) -> Any:
        if not all(groups) or any(not 0 <= first <= last for group in groups for first, last in group):
            raise ValueError(f"expected {INTERVALS}")
        return groups

    def __str__(self) -> str:
        groups = ("_".join(f"{first}-{last}" for first, last in group) for group in self.fields)
        return ".".join([self.kind, *groups])


Pool = Annotated[Annotated[Grid, VALUE] | Annotated[Fields, MAPPING], by_form(POOLS)]


@dataclass(frozen=True)
class FeatureMap:
    """The part of a network's output that is written: a layer's maps, pooled, and reduced over frames.

    pool: none, max<k> or avg<k> for a grid of k x k fields, or fields of one's own
    """

    layer: str
    pool: Pool
    over_frames: OverFrames

    @property
    def name(self) -> str:
        """The name of its file; a whole layer that is not the mean over frames says so, and so do pooled ones."""
        parts = [self.layer] + [str(self.pool)] * (self.pool != "none")
        return ".".join(parts + [self.over_frames] * (self.over_frames != "mean"))

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"pool": _pool_to_json(self.pool)}

    @classmethod
    def from_json(cls, found: Any) -> FeatureMap:
        """Read what `to_json` wrote; what else stands there is left out."""
        return cls(found["layer"], _pool_from_json(found["pool"]), found["over_frames"])


@dataclass(frozen=True)
class FeatureSpace:
    """One feature space.

    n_components: of the PCA; None for no PCA, and the regressors get the map itself
    standardize: z-score every feature on the training clips, before the PCA if there is one
    """

    network: str
    layer: str
    pool: Pool
    over_frames: OverFrames
    standardize: bool
    n_components: int | None

    @property
    def map(self) -> FeatureMap:
        return FeatureMap(self.layer, self.pool, self.over_frames)

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"pool": _pool_to_json(self.pool)}

    @classmethod
    def from_json(cls, found: Any) -> FeatureSpace:
        """Read what `to_json` wrote; what else stands there is left out."""
        return cls(**(found | {"pool": _pool_from_json(found["pool"])}))


Kind = TypeVar("Kind")
OneOrMore = Annotated[
    Annotated[Kind, VALUE] | Annotated[list[Kind], Field(min_length=1), LIST], by_form("a value, or a list of values")
]


class SpaceEntry(Section):
    """A line of params.spaces: a feature space, or one for each combination where a field has a list."""

    network: Name
    layer: OneOrMore[str]
    pool: Annotated[
        Annotated[Grid, VALUE] | Annotated[Fields, MAPPING] | Annotated[list[Pool], Field(min_length=1), LIST],
        by_form(POOLS),
    ]
    over_frames: OneOrMore[OverFrames]
    standardize: OneOrMore[bool]
    n_components: OneOrMore[Positive | None]

    def spaces(self, name: str) -> Iterator[tuple[str, FeatureSpace]]:
        """Name and space of each combination: the entry's own name, then what was chosen from each list."""
        lists = {field: value for field, value in self if isinstance(value, list)}
        for values in product(*lists.values()):
            chosen = dict(zip(lists, values))
            yield (
                ".".join([name, *(_word(field, value) for field, value in chosen.items())]),
                FeatureSpace(**(dict(self) | chosen)),
            )


def _word(field: str, value: Any) -> str:
    match field:
        case "standardize":
            return "standardized" if value else "unscaled"
        case "n_components":
            return "all" if value is None else f"pca{value}"
    return str(value)


def _pool_to_json(pool: Pool) -> Any:
    return pool.model_dump(mode="json") if isinstance(pool, Fields) else pool


def _pool_from_json(found: Any) -> Pool:
    return found if isinstance(found, str) else Fields.model_validate(found)


def expanded(entries: Mapping[str, SpaceEntry]) -> dict[str, FeatureSpace]:
    """Every named feature space of params.spaces, lists expanded."""
    return {name: space for key, entry in entries.items() for name, space in entry.spaces(key)}


def maps(spaces: Iterable[FeatureSpace]) -> tuple[FeatureMap, ...]:
    """The maps that spaces are made from, each once."""
    return tuple(dict.fromkeys(space.map for space in spaces))
