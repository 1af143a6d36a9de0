"""Models of transformers (Hugging Face) by class, repository and revision, from a folder of one's own.

`transformers/Dinov2Model/facebook/dinov2-base@<revision>`, with `file` the folder that holds the revision's config.json
and model.safetensors. Nothing but these two (and the mean and standard deviation in preprocessor_config.json, if it is
there) is read, no pickle is opened, and no code of a repository is run. `weights: random` without a folder takes the
default configuration of the class.

Layers are the hidden states as `output_hidden_states` has them: `hidden.0`, what the first block is given, and
`hidden.1`, ... what each block gives, as maps (n, channels, height, width) of the tokens of a picture, or (n, channels,
time, height, width) of a clip. The class token after the last norm is the layer `class_token`. Weights come under the
names of this class by transformers' own loading, which leaves out the rest of a larger model.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cinevox.errors import FileError, InputError
from cinevox.files import io
from cinevox.stimuli.networks import NetworkSpec, WeightsSource
from cinevox.stimuli.networks._libraries._hidden_states import FAMILIES, Family, build, library

if TYPE_CHECKING:
    from torch import nn

    from cinevox.project.params import Network

HUB = "https://huggingface.co"
FILES = ("config.json", "model.safetensors")
PREPROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json")
SPLIT = (
    " Its weights are in several files: load each with safetensors.torch.load_file, and save all their entries "
    "together with save_file"
)
# Entries of a configuration that no hidden state depends on: weights are read in full precision whatever `dtype` says.
NO_MATTER = ("transformers_version", "_name_or_path", "architectures", "dtype", "id2label", "label2id")


def spec(model: str, settings: Network) -> NetworkSpec:
    """The spec of a model. model: <class>/<owner>/<repository>@<revision>

    Raises
    ------
    InputError
        transformers is not installed; another class; no folder, or one without the two files or of another class.
    """
    kind, _, source = model.partition("/")
    repository, _, revision = source.partition("@")
    if kind not in FAMILIES or repository.count("/") != 1 or not revision:
        raise InputError(
            f"transformers/{model}: expected transformers/<class>/<owner>/<repository>@<revision> with a class of "
            f"{', '.join(FAMILIES)}"
        )
    page = f"{HUB}/{repository}/tree/{revision}"
    if settings.weights == "pretrained":
        raise InputError(
            f"transformers/{model}: no checksum is published, so nothing is downloaded. Fetch {' and '.join(FILES)} "
            f"from {page} into a folder, and give `weights: file`, `file: FOLDER`"
        )
    folder = None if settings.file is None else _folder(model, settings.file, page)
    family, configuration = FAMILIES[kind], _configuration(model, kind, folder, page)
    mean, std = _normalisation(family, folder)
    network = functools.partial(build, kind, configuration)
    n_blocks = configuration.num_hidden_layers
    return NetworkSpec(
        title=f"{kind} {repository}@{revision[:12]} (transformers)",
        build=network,
        layers=(
            *(f"hidden.{index}" for index in range(n_blocks + 1)),
            *(["class_token"] if family.class_token else []),
        ),
        layer_per_roi={},
        published_layers=False,
        source=WeightsSource(f"{HUB}/{repository}/resolve/{revision}/{FILES[1]}", "", f"as {page} states"),
        mean=mean,
        std=std,
        input_size=getattr(configuration, family.size),
        n_frames=getattr(configuration, family.n_frames) if family.n_frames else None,
        weights_page=page,
        adapt=_adapt,
        beside=(FILES[0], *PREPROCESSORS),
        configuration=_stated(configuration),
    )


SPEC = spec


def _folder(model: str, given: Path, page: str) -> Path:
    """The folder of the files. given: itself, or its model.safetensors"""
    folder = given.parent if given.name == FILES[1] else given
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        is_split = (folder / f"{FILES[1]}.index.json").is_file()
        raise InputError(
            f"transformers/{model}: {folder} has no {' and no '.join(missing)}; expected a folder with "
            f"{' and '.join(FILES)}, as {page} has them." + is_split * SPLIT
        )
    return folder


def _configuration(model: str, kind: str, folder: Path | None, page: str) -> Any:
    """Build the configuration of the model class `kind`.

    A file is read as text, and checked to be of this class before transformers takes it.
    """
    wanted = getattr(library(), kind).config_class
    if folder is None:
        return wanted()
    path = folder / FILES[0]
    document = io.read_json(path)
    whole = document if isinstance(document, dict) else {}
    own = whole.get(wanted.base_config_key or "", whole)  # of a model of pictures and text, its part for pictures
    if not isinstance(own, dict) or not own:
        raise FileError(f"{path}: holds no configuration (names and values); fetch it again from {page}")
    if (found := own.get("model_type")) != wanted.model_type:
        raise FileError(
            f"{path}: its model_type is {found}, expected {wanted.model_type} for {kind}; correct "
            f"networks.<name>.model (transformers/{model}) or networks.<name>.file"
        )
    return wanted.from_dict(own)


def _stated(configuration: Any) -> dict[str, Any]:
    """The values of a configuration that a hidden state can depend on."""
    return {key: value for key, value in configuration.to_diff_dict().items() if key not in NO_MATTER}


def _normalisation(family: Family, folder: Path | None) -> tuple[Any, Any]:
    """Mean and standard deviation that the folder states, else those of the family."""
    for path in () if folder is None else [folder / name for name in PREPROCESSORS]:
        if path.is_file() and isinstance(stated := io.read_json(path), dict) and "image_mean" in stated:
            return tuple(stated["image_mean"]), tuple(stated["image_std"])
    return family.mean, family.std


def _adapt(checkpoint: Mapping[str, Any], module: nn.Module) -> Mapping[str, Any]:
    """A state dict under the class's present names, by transformers' own loading, without those that it lacks."""
    import torch

    own: Any = type(module)
    if checkpoint.keys() == module.state_dict().keys():
        return checkpoint
    try:
        with _quiet():
            loaded, told = own.from_pretrained(
                None,
                config=module.config,
                state_dict=dict(checkpoint),
                dtype=torch.float32,  # else that of the configuration, which may have fewer digits than the weights
                output_loading_info=True,
            )
    except Exception:  # no state dict of such a model: of that is said entry by entry how it differs
        return checkpoint
    found = {name: values for name, values in loaded.state_dict().items() if name not in told["missing_keys"]}
    return found or checkpoint


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and its table of entries that are left out."""
    logging = library().logging
    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()
