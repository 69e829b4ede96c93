"""Where the parts are that a space's members share: the pipeline's folder, its VAE, a ControlNet. Imports no torch."""

from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.config.models import SpaceConfig
from tstitch_search.errors import ConfigError
from tstitch_search.members.shared_facts import DENOISERS
from tstitch_search.members.weights import WEIGHTS, locate, read_json, weight_patterns

# Files of models, tokenizers and solvers; and with their weights, but not the variants for other number formats.
WORDS = ("*.json", "*.txt", "*.model")
# Components that the members stand for, or that a study leaves out.
NOT_SHARED = ("transformer", "transformer_2", "unet", "controlnet", "safety_checker", "feature_extractor")
SHARED_FILES = (*WORDS, *(f"{stem}{end}.safetensors" for stem in (WEIGHTS, "model") for end in ("", "-*")))


def pipeline_folder(space: SpaceConfig, near: Path, *, with_weights: bool = True) -> Path:
    """The local folder of what the members share, as the family's traits list it: `vae/`, `scheduler/`, ..."""
    assert space.pipeline is not None  # of a study that makes images
    kinds, owner = SHARED_FILES if with_weights else WORDS, f"the pipeline of {space.name}"
    index = ["model_index.json"]
    shared = space.traits.shared or shared_parts(locate(space.pipeline, near, owner, index, space.pipeline_revision))
    files = [*index, *(f"{part}/{kind}" for part in shared for kind in kinds), *(f"{d}/config.json" for d in DENOISERS)]
    return locate(space.pipeline, near, owner, files, space.pipeline_revision)


def shared_parts(folder: Path) -> tuple[str, ...]:
    """The components that `model_index.json` in the folder names, without denoisers and what a study does not use."""
    index = read_json(folder / "model_index.json", "the pipeline")
    there = {name for name, value in index.items() if isinstance(value, list) and value and value[0]}
    return tuple(sorted((there | {"vae", "scheduler"}) - set(NOT_SHARED)))


def shared_folders(space: SpaceConfig, near: Path) -> list[Path]:
    """The folders of all that the members share, but the VAE, which may be another than the pipeline's."""
    pipeline = pipeline_folder(space, near, with_weights=True)
    of_pipeline = [pipeline / part for part in space.traits.shared or shared_parts(pipeline) if part != "vae"]
    return [*of_pipeline, *([controlnet_folder(space, near)] if space.controlnet else [])]


def controlnet_folder(space: SpaceConfig, near: Path, *, with_weights: bool = True) -> Path:
    """The local folder of the space's ControlNet."""
    assert space.controlnet is not None  # of a family that has one
    files = ["config.json", *(weight_patterns() if with_weights else [])]
    return locate(space.controlnet, near, f"the ControlNet of {space.name}", files)


def vae_folder(study: Study, *, with_weights: bool = True) -> Path:
    """The local folder of the study's VAE: its own choice (`execution.vae`), or the pipeline's."""
    own = study.config.execution.vae
    if own is None:
        return pipeline_folder(study.space, study.space_path.parent, with_weights=with_weights) / "vae"
    files = ["config.json", *(weight_patterns() if with_weights else [])]
    return locate(own, study.study_path.parent, "execution.vae", files)


def pipeline_name(space: SpaceConfig, near: Path) -> str:
    """What diffusers calls the class of the space's pipeline. Raises ConfigError where its folder does not say."""
    if space.family is not None:
        return space.traits.pipelines[0]
    folder = pipeline_folder(space, near, with_weights=False)
    name = read_json(folder / "model_index.json", "the pipeline").get("_class_name")
    if not isinstance(name, str):
        raise ConfigError(
            f"{folder / 'model_index.json'} names no _class_name, expected a pipeline class of diffusers",
            hint="give the folder of a whole pipeline, as save_pretrained writes it",
        )
    with_control = space.controlnet is not None and "ControlNet" not in name
    return name.replace("Pipeline", "ControlNetPipeline") if with_control else name
