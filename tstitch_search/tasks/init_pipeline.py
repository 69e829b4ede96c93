"""A study and a search space for any text-to-image or video pipeline, its members guessed from its repository."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tstitch_search.config.guidance import GUIDANCE
from tstitch_search.errors import ConfigError
from tstitch_search.members.weights import locate, read_json

SPACE = """\
# {kind}: {what}
# Guessed from the repository's model_index.json: read its licence, and correct what is wrong.
name: {name}
pipeline: {pipeline}
call: {{{call}}}   # arguments of the pipeline's call, as its page says; num_frames, max_sequence_length, ... too
denoisers:               # from the noise end to the image end, the largest last
  # - {{name: S, weights: OWNER/A-SMALLER-OR-DISTILLED-ONE, subfolder: {slot}}}
{denoisers}
n_steps: {n_steps}
grid: {grid}
orders: any              # published results find large models first best with flow matching
{more}"""
STUDY = """\
# Which steps of {pipeline} can be cheaper, with images that look the same? SSIM with its own images, against time.
name: {name}
search_space: ../search_spaces/{name}.yaml
guidance_scale: {guidance}       # a guess: take what the model's page says
proxy_set: {{prompts: prompts.txt, seed: 0, chunk_size: 4}}   # a file with one prompt per line, beside this one
quality: {{objective: ssim, n_images: 40}}
confirm: {{n_images: 40, max_entries: 6}}
latency: {{batch_size: 1, n_repeats: 5}}
workers: {{device: auto, dtype: bfloat16, device_batch_size: 1}}
"""
# Names of pipelines that make videos.
VIDEO = re.compile("Video|Wan|LTX|Mochi|T2V|I2V|Allegro|SkyReels")
MEMBER = "  - {{name: {name}, weights: {pipeline}, subfolder: {slot}}}"


def files_of(pipeline: str, near: Path, n_steps: int = 20) -> dict[str, str]:
    """What to write, by path: a study and its space of `pipeline`, a hub id or a folder seen from `near`.

    A guided pipeline gets its denoiser with and without guidance; one with two experts both of them. Raises ConfigError
    for a repository that is no pipeline with a denoiser, EnvironmentProblem for one that cannot be had.
    """
    _require_no_single_file(pipeline)
    index = read_json(locate(pipeline, near, "the pipeline", ["model_index.json"]) / "model_index.json", "the pipeline")
    kind, slots = str(index.get("_class_name")), _slots_of(pipeline, index)
    name = re.sub(r"[^A-Za-z0-9]+", "_", Path(pipeline).absolute().name if pipeline == "." else pipeline.split("/")[-1])
    where = pipeline if not (near / pipeline).is_dir() else str((near / pipeline).absolute())
    facts = GUIDANCE.get(kind)
    guided = facts is not None and facts.calls != "embedded" and len(slots) == 1
    if len(slots) == 2:
        lines = [MEMBER.format(name=n, pipeline=where, slot=s) for n, s in (("LOW", slots[1]), ("HIGH", slots[0]))]
        more = (
            f"# published_boundary: HIGH*{n_steps // 2}-LOW*{n_steps - n_steps // 2}   # `check` says the right one\n"
        )
    else:
        lines = [MEMBER.format(name="L", pipeline=where, slot=slots[0])]
        more = "max_switches: 2\n" if guided else ""
    if guided and facts:
        lines.insert(0, f"  - {{name: free, of: L, guidance_scale: {facts.off:g}}}   # without guidance")
    what = "with two experts" if len(slots) == 2 else "with guidance and without" if guided else "add a second member"
    space = SPACE.format(
        kind=kind,
        what=what,
        name=name.strip("_"),
        pipeline=where,
        slot=slots[0],
        call="height: 480, width: 832" if VIDEO.search(kind) else "height: 1024, width: 1024",
        denoisers="\n".join(lines),
        n_steps=n_steps,
        grid=max(1, n_steps // 10),
        more=more,
    )
    study = STUDY.format(name=name.strip("_"), pipeline=pipeline, guidance=4)
    return {f"studies/{name.strip('_')}.yaml": study, f"search_spaces/{name.strip('_')}.yaml": space}


def _require_no_single_file(pipeline: str) -> None:
    if pipeline.endswith((".safetensors", ".gguf", ".ckpt")):
        raise ConfigError(
            f"{pipeline} is one file, expected a whole pipeline: a hub id or a folder with model_index.json",
            hint="its class makes one, as StableDiffusionXLPipeline.from_single_file(file).save_pretrained(folder); "
            "or name the pipeline it is of, and give the file to a member, with format: single_file",
        )


def _slots_of(pipeline: str, index: Mapping[str, Any]) -> list[str]:
    """The components that denoise. Raises ConfigError when there is none."""
    slots = [s for s in ("transformer", "transformer_2", "unet") if (index.get(s) or [None])[0]]
    if not slots:
        raise ConfigError(
            f"{pipeline} is a {index.get('_class_name')} without a transformer or unet",
            hint="name the repository of a whole pipeline, which has model_index.json",
        )
    return slots
