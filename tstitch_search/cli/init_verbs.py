"""Starting in an empty folder. Each verb imports what it needs itself."""

import os
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer

from tstitch_search.cli.app import COMMAND, app


class Start(Enum):
    """What one can start from; the value is its study, below the templates."""

    QUICKSTART = "studies/quickstart.yaml"
    DIT = "studies/hub/dit_s_b_xl.yaml"
    UVIT = "studies/hub/dit_s_uvit_h.yaml"
    LDM = "studies/hub/ldm_s_ldm.yaml"
    STABLE_DIFFUSION = "studies/hub/sd14_bk_sdm.yaml"
    SDXL = "studies/hub/sdxl_ssd1b_vega.yaml"
    SANA = "studies/hub/sana_600m_1600m.yaml"
    SD35 = "studies/hub/sd35_medium_turbo_large.yaml"
    FLUX1 = "studies/hub/flux1_schnell_dev.yaml"
    Z_IMAGE = "studies/hub/z_image_turbo.yaml"
    PIXART_SIGMA = "studies/hub/pixart_sigma.yaml"
    WAN21 = "studies/hub/wan21_1_3b_14b.yaml"
    WAN22 = "studies/hub/wan22_a14b.yaml"
    COGVIDEOX = "studies/hub/cogvideox_5b.yaml"
    LTX_VIDEO = "studies/hub/ltx_video_2b.yaml"
    FLUX2_KLEIN = "studies/hub/flux2_klein_4b.yaml"
    QWEN_IMAGE = "studies/hub/qwen_image_lightning.yaml"
    SDXL_LORAS = "studies/hub/sdxl_few_step_loras.yaml"
    WAN22_LIGHTNING = "studies/hub/wan22_a14b_lightning.yaml"
    HUNYUAN_VIDEO15 = "studies/hub/hunyuan_video15_480p.yaml"
    KANDINSKY5 = "studies/hub/kandinsky5_lite.yaml"


PROMPTS = "studies/hub/prompts.txt"
NAMES = ", ".join(start.name.lower() for start in Start)


@app.command()
def init(
    family: Annotated[str, typer.Argument(help=f"One of {NAMES}.", metavar="FAMILY")] = "quickstart",
    pipeline: Annotated[
        str | None, typer.Option(help="Any other diffusers pipeline instead: a hub id (owner/name) or a folder.")
    ] = None,
    question: Annotated[
        Literal["same", "as-good"] | None,
        typer.Option(
            help="same: the same pictures, faster (distance to the largest denoiser's own); as-good: as good, faster "
            "(FID, preference, CLIP score). In a terminal you are asked, elsewhere it is the family's own."
        ),
    ] = None,
) -> None:
    """Write a study and its search space here, every key explained.

    Example: tstitch-search init stable_diffusion
    """
    from tstitch_search.errors import ConfigError

    if pipeline is not None:
        from tstitch_search.tasks.init_pipeline import files_of

        made = files_of(pipeline, Path())
        own = Path("studies/prompts.txt")
        prompts = {} if own.exists() else {str(own): (templates() / PROMPTS).read_bytes()}
        study = next(iter(made))
        made[study] = _asked(made[study], question)
        taught = {path: _taught(path, text.encode()) for path, text in made.items()}
        _write({**taught, **prompts}, study)
        return
    if family.upper() not in Start.__members__:
        near = get_close_matches(family.lower(), NAMES.split(", "), n=1)
        hint = f"did you mean {near[0]}?" if near else "any other pipeline: init --pipeline owner/name"
        raise ConfigError(f"unknown family {family!r:.60}, expected one of {NAMES}", hint=hint)
    study = Start[family.upper()].value
    texts = {path: (templates() / path).read_bytes() for path in _needed(study)}
    texts[study] = _asked(texts[study].decode(), question).encode()
    _write({path: _taught(path, text) for path, text in texts.items()}, study)


def _asked(study: str, question: str | None) -> str:
    """The study with the question that was given, or is answered in a terminal; without one, with its own."""
    from tstitch_search.tasks.init_question import Question, asking, question_in

    own = question_in(study)
    if question is None and sys.stdin.isatty() and sys.stderr.isatty():
        question = _answer({q.value: q.words for q in (own, own.other)}, own.value)
    chosen = Question(question or own.value)
    typer.echo(f"question: {chosen.words}; the other one: --question {chosen.other.value}", err=True)
    return asking(study, chosen)


def _answer(choices: Mapping[str, str], default: str) -> str:
    """What is answered on the terminal; an empty line is the default."""
    typer.echo("What do you ask? docs/statistics.md says what either means.", err=True)
    for name, words in choices.items():
        typer.echo(f"  {name}: {words}", err=True)
    while True:
        typer.echo(f"question [{default}]: ", nl=False, err=True)
        answer = sys.stdin.readline().strip() or default
        if answer in choices:
            return answer
        typer.echo(f"got {answer!r:.60}, expected one of {', '.join(choices)}", err=True)


def _write(texts: Mapping[str, bytes], study: str) -> None:
    """Write the files here. Raises ConfigError when another one of that name is there."""
    from tstitch_search.errors import ConfigError
    from tstitch_search.files import write_whole

    if there := [path for path, text in texts.items() if Path(path).exists() and Path(path).read_bytes() != text]:
        raise ConfigError(f"{there[0]} is there already", hint="take another folder, or move it away")
    for path, text in texts.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(Path(path), text)
        print(path)
    typer.echo(f"next: {COMMAND} plan {study}", err=True)


def templates() -> Path:
    """The folder with `studies/` and `search_spaces/`: inside the installed package, or in a clone beside it."""
    package = Path(__file__).parents[1]
    return package / "templates" if (package / "templates").is_dir() else package.parent


def _taught(path: str, text: bytes) -> bytes:
    """The file with what else may be set in it as comments below, if it is a study or a search space."""
    import yaml

    from tstitch_search.config import SpaceConfig, StudyConfig
    from tstitch_search.config.other_keys import other_keys

    if not path.endswith(".yaml"):
        return text
    model = SpaceConfig if path.startswith("search_spaces/") else StudyConfig
    return text + other_keys(model, yaml.safe_load(text)).encode()


def _needed(study: str) -> list[str]:
    """The study and the files of ours that it names, relative to the templates."""
    import yaml

    document = yaml.safe_load((templates() / study).read_text())
    named = [document["search_space"], document["proxy_set"].get("prompts")]
    folder = os.path.dirname(study)
    return [study, *(Path(os.path.normpath(os.path.join(folder, name))).as_posix() for name in named if name)]
