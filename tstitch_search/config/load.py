"""From files and `--set key=value` to a checked `Study`, and back to one file with every default written out."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from tstitch_search.config.checks import proxy_files, require_models, require_prompts
from tstitch_search.config.document import Document, Place, parse_document, printable, read_document
from tstitch_search.config.explain import validated
from tstitch_search.config.guidance import require_guidance
from tstitch_search.config.models import ProxyFiles, QualityConfig, SpaceConfig, StudyConfig
from tstitch_search.config.models.base import Model
from tstitch_search.config.overrides import override, split_overrides
from tstitch_search.config.rivals import Rival, read_rivals
from tstitch_search.errors import ConfigError, TooFewEntries


class Study(Model):
    """A checked study with its search space, the files they came from and what was overridden (`key=value`).

    In Python, `Study(name=..., search_space=..., quality=..., ...)` takes the sections of a study file as keywords,
    each a plain dict or an object of `tstitch_search.config.models`; `search_space` may also be the path of a file.
    Relative paths count from `folder`, by default the current one. Raises ConfigError naming the key.

    `run_folder`: where a run of it keeps what it makes; None outside a run.
    """

    config: StudyConfig
    space: SpaceConfig
    study_path: Path
    space_path: Path
    overrides: tuple[str, ...] = ()
    proxy_files: ProxyFiles = ProxyFiles()
    rivals: tuple[Rival, ...] = ()
    run_folder: Path | None = None

    def __init__(
        self,
        *,
        name: str,
        search_space: SpaceConfig | Mapping[str, Any] | Path | str,
        quality: QualityConfig | Mapping[str, Any],
        folder: Path | str = ".",
        **sections: Any,
    ) -> None:
        written = _written({"name": name, "search_space": search_space, "quality": quality, **sections})
        document = parse_document(_as_yaml(written), lambda line: Place(line, "Study"))
        BaseModel.__init__(self, **_checked(document, Path(folder) / "study.yaml", ()))


def load_study(
    path: Path, overrides: Sequence[str] = (), own: Sequence[str] = (), *, with_entries: bool = True
) -> Study:
    """The study in the file at `path` and its search space, with `overrides` (`key=value`) put in.

    Keys that begin with `space.` override the search space. `own`: what the caller sets by itself unless an override
    does; no message speaks of it. Labels, prompts and control images are not looked at when not `with_entries`. Raises
    ConfigError naming file, line and key; TooFewEntries for too few of these.
    """
    document = override(read_document(path), own)
    return Study.model_construct(**_checked(document, path, overrides, with_entries=with_entries))


def load_for_members(path: Path, overrides: Sequence[str], own: Sequence[str] = ()) -> tuple[Study, str | None]:
    """The study, without labels, prompts and control images if there are too few, and then what is said of them."""
    try:
        return load_study(path, overrides, own), None
    except TooFewEntries as error:
        return load_study(path, overrides, own, with_entries=False), error.message


def study_of(document: Mapping[str, Any], path: Path, overrides: Sequence[str] = ()) -> Study:
    """The study that `study_document` wrote into the file at `path`, a lookup table. Raises ConfigError naming it."""
    parsed = parse_document(_as_yaml(document), lambda line: Place(line, f"{path}: provenance.study"))
    return Study.model_construct(**_checked(parsed, path, overrides))


def overridden(study: Study, overrides: Sequence[str], own: Sequence[str] = ()) -> Study:
    """The study with `own` and then `overrides` (`key=value`) put in. Raises ConfigError naming the key."""
    if not overrides and not own:
        return study
    document = {**study_document(study, study.study_path.parent), "storage": study.config.storage}
    parsed = parse_document(_as_yaml(document), lambda line: Place(line, f"study {study.config.name}"))
    fields = _checked(override(parsed, own), study.study_path, overrides)
    return Study.model_construct(**{**fields, "overrides": (*study.overrides, *overrides)})


def _written(value: Any) -> Any:
    """`value` as a study file would hold it."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
        case Mapping():
            return {key: _written(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_written(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def _as_yaml(document: Mapping[str, Any]) -> str:
    try:
        return yaml.safe_dump(dict(document), sort_keys=False)
    except yaml.YAMLError as error:
        given = printable(repr(error.args[-1]))
        raise ConfigError(
            f"Study: got {given:.60}, expected numbers, text, lists, dicts, or objects of config.models"
        ) from error


def _checked(document: Document, path: Path, overrides: Sequence[str], *, with_entries: bool = True) -> dict[str, Any]:
    """The fields of the `Study` in `document`, which stands for the file at `path`. Raises ConfigError."""
    of_study, of_space = split_overrides(overrides)
    if "denoisers" in document.value and "search_space" not in document.value:
        raise ConfigError(f"{path} is a search space, expected a study", hint="give the study whose search_space it is")
    document = override(document, of_study)
    if isinstance(document.value.get("search_space"), dict):
        of_study = [*of_study, *(f"search_{text}" for text in of_space)]
        document = override(document, of_study)
    config = validated(StudyConfig, document, of_study, "study")
    require_prompts(config, document)
    needs_models = config.measure.recorded is None
    space, space_path = _space_of(config.search_space, document, path, of_space, needs_models=needs_models)
    if space.profiles and not needs_models:
        raise ConfigError(
            f"{space.name}: profiles: got {', '.join(space.profiles)} with measure.recorded, expected none",
            hint="recorded numbers have no schedulers: take another search space",
        )
    if needs_models and space.traits.pipelines:
        require_guidance(space, space.traits.pipelines[0], config.guidance_scale)
    return {
        "config": config,
        "space": space,
        "study_path": path,
        "space_path": space_path,
        "overrides": tuple(overrides),
        "proxy_files": proxy_files(config, space, path.parent, document)
        if needs_models and with_entries
        else ProxyFiles(),
        "rivals": read_rivals(path.parent / config.rivals) if config.rivals is not None else (),
    }


def _space_of(
    given: str | SpaceConfig, document: Document, path: Path, overrides: Sequence[str], *, needs_models: bool
) -> tuple[SpaceConfig, Path]:
    """The search space that the study at `path` holds or names, and the file that it is in."""
    if isinstance(given, SpaceConfig):
        if needs_models:
            require_models(given, document, ("search_space",))
        return given, path
    space_path = path.parent / given
    if not os.path.isfile(space_path):
        raise ConfigError(
            f"{document.place(('search_space',)).label}: search_space: got {given!r:.60}, "
            f"expected a file, and {printable(os.path.normpath(space_path))!r} is none",
            hint="search_space is relative to the folder of the study file",
        )
    return load_space(space_path, overrides, needs_models=needs_models), space_path


def load_space(path: Path, overrides: Sequence[str] = (), *, needs_models: bool = False) -> SpaceConfig:
    """The search space in the file at `path`, with `overrides` (`space.key=value`) put in.

    `needs_models`: images are to be made with it. Raises ConfigError.
    """
    document = override(read_document(path), overrides, prefix=("space",))
    space = validated(SpaceConfig, document, overrides, "space")
    if needs_models:
        require_models(space, document)
    return space


def study_document(study: Study, folder: Path) -> dict[str, Any]:
    """The study for a file in `folder`: every default written out, the search space included.

    Paths that lead to files are made relative to `folder`.
    """
    document, space = (m.model_dump(mode="json", by_alias=True) for m in (study.config, study.space))
    of_study = [("quality", "reference"), ("quality", "extractor_weights"), ("proxy_set", "labels")]
    of_study += [("proxy_set", "prompts"), ("proxy_set", "control_images"), ("quality", "clip_model")]
    of_study += [("quality", "lpips_weights"), ("quality", "dino_model"), ("quality", "pick_score_model")]
    of_study += [("quality", "hps_weights"), ("quality", "preference_processor")]
    of_study += [("measure", "recorded"), ("measure", "features")]
    for section, key in of_study:
        document[section][key] = _moved(document[section][key], study.study_path.parent, folder)
    inputs = document["proxy_set"]["inputs"]
    inputs |= {name: _moved(at, study.study_path.parent, folder) for name, at in inputs.items()}
    document["execution"]["vae"] = _moved(document["execution"]["vae"], study.study_path.parent, folder)
    document["storage"] = without_password(document["storage"])
    document["rivals"] = _moved(document["rivals"], study.study_path.parent, folder)
    for part, key in [
        (space, "pipeline"),
        (space, "controlnet"),
        *((denoiser, key) for denoiser in space["denoisers"] for key in ("weights", "config")),
        *((lora, "weights") for denoiser in space["denoisers"] for lora in denoiser["lora"]),
    ]:
        part[key] = _moved(part[key], study.space_path.parent, folder)
    return {**document, "search_space": space}


def study_as_yaml(study: Study, folder: Path) -> str:
    """The study as one file for `folder`, with what was overridden as a comment. It loads as the same study."""
    given = "".join(f"# with --set {json.dumps(without_password(text))}\n" for text in study.overrides)
    header = "# The study as it ran: every default written out, the search space and the overrides included.\n"
    document = study_document(study, folder)
    return header + given + yaml.safe_dump(document, sort_keys=False, width=120, default_flow_style=None)


def _moved(text: str | None, near: Path, folder: Path) -> str | None:
    """`text` for a file in `folder` where it is a path relative to `near`; hub ids and `zoo:...` stay."""
    try:
        is_path = text is not None and not os.path.isabs(text) and (near / text).exists()
    except (OSError, ValueError):  # no path at all
        is_path = False
    return os.path.relpath(near / str(text), folder) if is_path else text


def without_password(text: str | None) -> str | None:
    """The text with the password of a URL in it taken out: what is kept or shared must not hold one."""
    return None if text is None else re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1@", text)


def json_schema(kind: Literal["study", "space"]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of study or search space files, for editors."""
    model: type[BaseModel] = StudyConfig if kind == "study" else SpaceConfig
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.model_json_schema(),
        "title": f"tstitch-search {kind}",
    }
