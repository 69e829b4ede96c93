"""What encoding prompts once saves, before it does: roughly, from the text encoders' files."""

from dataclasses import dataclass

from tstitch_search.config import Study
from tstitch_search.members.headers import count_parameters
from tstitch_search.members.pipeline_parts import pipeline_folder
from tstitch_search.members.shared_facts import read_shared_facts
from tstitch_search.members.weights import ENCODER_WEIGHTS

# Tokens of a prompt where the space's `call` gives no `max_sequence_length`: between CLIP's 77 and T5's 512.
TYPICAL_TOKENS = 256
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class PromptPrice:
    """`saved_s` of the text encoders' time, `freed_gb` of memory while images are made, `disk_gb` for what is kept."""

    saved_s: float
    freed_gb: float
    disk_gb: float

    def __str__(self) -> str:
        return (
            f"saves about {self.saved_s:.2g} s and {self.freed_gb:.2g} GB of text encoders, keeps {self.disk_gb:.2g} GB"
        )


def prompt_price(study: Study, n_images: int, flops_per_s: float) -> PromptPrice | None:
    """What is saved where `n_images` are made in all; None for a study without prompts.

    Two operations per parameter and token, twice with guidance.
    """
    if study.config.measure.recorded is not None or "prompts" not in study.space.traits.takes:
        return None
    folder = pipeline_folder(study.space, study.space_path.parent, with_weights=False)
    sizes = [
        count_parameters(encoder, f"the pipeline's {encoder.name}", required=False, stem=ENCODER_WEIGHTS) or 0
        for encoder in sorted(folder.glob("text_encoder*/"))
    ]
    asked, of_value = study.space.call.get("max_sequence_length"), BYTES[study.config.workers.dtype]
    tokens = asked if isinstance(asked, int) else TYPICAL_TOKENS
    halves = 2 if study.config.guidance_scale > 1 else 1
    n_prompts = study.config.quality.n_images + study.config.confirm.n_images
    width = sum(encoder.width for encoder in read_shared_facts("the pipeline", folder).encoders)
    return PromptPrice(
        saved_s=2.0 * sum(sizes) * tokens * halves * max(n_images - n_prompts, 0) / flops_per_s,
        freed_gb=sum(sizes) * of_value / 1e9,
        disk_gb=n_prompts * halves * tokens * width * of_value / 1e9,
    )
