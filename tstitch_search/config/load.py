"""From files and `--set key=value` to a checked `Study`, and back to one file with every default written out."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel

from tstitch_search.config.document import Document, Key, Place, parse_document, printable, read_document
from tstitch_search.config.explain import validated
from tstitch_search.config.family_traits import TRAITS
from tstitch_search.config.guidance import guidance_of
from tstitch_search.config.models import ProxyFiles, SpaceConfig, Study, StudyConfig
from tstitch_search.config.overrides import override, split_overrides
from tstitch_search.config.proxy_files import check_family, read_proxy_files
from tstitch_search.config.rivals import read_rivals
from tstitch_search.errors import ConfigError, TooFewEntries


def load_study(
    path: Path, overrides: Sequence[str] = (), own: Sequence[str] = (), *, with_entries: bool = True
) -> Study:
    """The study in the file at `path` and its search space, with `overrides` (`key=value`) put in.

    Keys that begin with `space.` override the search space. `own`: what the caller sets by itself unless an override
    does; no message speaks of it. Labels, prompts and control images are not looked at when not `with_entries`. Raises
    ConfigError naming file, line and key; TooFewEntries for too few of these.
    """
    return _study(override(read_document(path), own), path, overrides, with_entries=with_entries)


def load_for_members(path: Path, overrides: Sequence[str], own: Sequence[str] = ()) -> tuple[Study, str | None]:
    """The study, without labels, prompts and control images if there are too few, and then what is said of them."""
    try:
        return load_study(path, overrides, own), None
    except TooFewEntries as error:
        return load_study(path, overrides, own, with_entries=False), error.message


def study_of(document: Mapping[str, Any], path: Path, overrides: Sequence[str] = ()) -> Study:
    """The study that `study_document` wrote into the file at `path`, a lookup table. Raises ConfigError naming it."""
    text = yaml.safe_dump(dict(document), sort_keys=False)
    return _study(parse_document(text, lambda line: Place(line, f"{path}: provenance.study")), path, overrides)


def _study(document: Document, path: Path, overrides: Sequence[str], *, with_entries: bool = True) -> Study:
    of_study, of_space = split_overrides(overrides)
    document = override(document, of_study)
    if isinstance(document.value.get("search_space"), dict):
        of_study = [*of_study, *(f"search_{text}" for text in of_space)]
        document = override(document, of_study)
    config = validated(StudyConfig, document, of_study, "study")
    _require_prompts(config, document)
    needs_models = config.measure.recorded is None
    if isinstance(config.search_space, SpaceConfig):
        space, space_path = config.search_space, path
        if needs_models:
            _require_models(space, document, ("search_space",))
    else:
        space_path = path.parent / config.search_space
        if not os.path.isfile(space_path):
            raise ConfigError(
                f"{document.place(('search_space',)).label}: search_space: got {config.search_space!r:.60}, "
                f"expected a file, and {printable(os.path.normpath(space_path))!r} is none",
                hint="search_space is relative to the folder of the study file",
            )
        space = load_space(space_path, of_space, needs_models=needs_models)
    if needs_models:
        _require_guidance(config, space)
    has_entries = needs_models and with_entries
    return Study(
        config=config,
        space=space,
        study_path=path,
        space_path=space_path,
        overrides=tuple(overrides),
        proxy_files=_proxy_files(config, space, path.parent, document) if has_entries else ProxyFiles(),
        rivals=read_rivals(path.parent / config.rivals) if config.rivals is not None else (),
    )


def _require_prompts(config: StudyConfig, document: Document) -> None:
    if "clip_score" in config.quality.all_metrics and config.proxy_set.prompts is None:
        raise ConfigError(
            f"{document.place(('quality',)).label}: quality: clip_score needs prompts, got no proxy_set.prompts",
            hint="name a file of prompts, or take another metric",
        )


def _require_guidance(config: StudyConfig, space: SpaceConfig) -> None:
    """Nothing, when every denoiser's own guidance can be had in a pipeline that guides as the study says."""
    own = {d.name: d.guidance_scale for d in space.denoisers if d.guidance_scale is not None}
    if not own or space.family is None:
        return
    off = guidance_of(TRAITS[space.family].pipelines[0]).off
    guided = [name for name, scale in own.items() if scale > off]
    if guided and config.guidance_scale <= off:
        raise ConfigError(
            f"denoiser {guided[0]!r} has guidance_scale {own[guided[0]]:g}, but the study's is "
            f"{config.guidance_scale:g}: its pipeline would ask for no unconditional half",
            hint=f"set the study's to {own[guided[0]]:g}, and guidance_scale: 1 for the denoisers without guidance",
        )


def _require_models(space: SpaceConfig, document: Document, prefix: Key = ()) -> None:
    """Nothing, when all is named that images are made with; `prefix` is where the space is in the document."""
    needed = ("family", "pipeline", *(["controlnet"] if space.family == "sdxl_controlnet" else []))
    missing: list[Key] = [(key,) for key in needed if getattr(space, key) is None]
    missing += [("denoisers", i, "weights") for i, denoiser in enumerate(space.denoisers) if denoiser.weights is None]
    keys = [(*prefix, *key) for key in missing]
    lines = [f"{document.place(key).label}: {'.'.join(map(str, key))} is missing" for key in keys]
    if lines:
        raise ConfigError("\n".join(lines), hint="name it; only a study with measure.recorded makes no images")


def _proxy_files(config: StudyConfig, space: SpaceConfig, near: Path, document: Document) -> ProxyFiles:
    n_search, n_confirm = config.quality.n_images, config.confirm.n_images
    assert space.family is not None  # of a study that makes images
    try:
        check_family(config.proxy_set, space.family)
        return read_proxy_files(config.proxy_set, space.n_classes, n_search, n_confirm, near)
    except ConfigError as error:
        key = error.message.partition(":")[0]
        place = document.place(("proxy_set", key)).label
        raise type(error)(f"{place}: proxy_set.{printable(error.message)}", error.hint) from error


def load_space(path: Path, overrides: Sequence[str] = (), *, needs_models: bool = False) -> SpaceConfig:
    """The search space in the file at `path`, with `overrides` (`space.key=value`) put in.

    `needs_models`: images are to be made with it. Raises ConfigError.
    """
    document = override(read_document(path), overrides, prefix=("space",))
    space = validated(SpaceConfig, document, overrides, "space")
    if needs_models:
        _require_models(space, document)
    return space


def study_document(study: Study, folder: Path) -> dict[str, Any]:
    """The study for a file in `folder`: every default written out, the search space included.

    Paths that lead to files are made relative to `folder`.
    """
    document, space = (m.model_dump(mode="json", by_alias=True) for m in (study.config, study.space))
    of_study = [("quality", "reference"), ("quality", "extractor_weights"), ("proxy_set", "labels")]
    of_study += [("proxy_set", "prompts"), ("proxy_set", "control_images"), ("quality", "clip_model")]
    of_study += [("measure", "recorded"), ("measure", "features")]
    for section, key in of_study:
        document[section][key] = _moved(document[section][key], study.study_path.parent, folder)
    document["execution"]["vae"] = _moved(document["execution"]["vae"], study.study_path.parent, folder)
    document["storage"] = without_password(document["storage"])
    document["rivals"] = _moved(document["rivals"], study.study_path.parent, folder)
    for part, key in [
        (space, "pipeline"),
        (space, "controlnet"),
        *((denoiser, "weights") for denoiser in space["denoisers"]),
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
