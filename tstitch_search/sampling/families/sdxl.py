"""Text-to-image U-Nets in a stock `StableDiffusionXLPipeline` (Podell et al., arXiv 2307.01952): SDXL and its kin.

LCM members too: their guidance embedding is given to those that have one. Members are stitched, and the pipeline is
asked, as for Stable Diffusion.
"""

from pathlib import Path

from diffusers import StableDiffusionXLPipeline
from torch import nn

from tstitch_search.config.models import SpaceConfig
from tstitch_search.members.facts import pipeline_folder
from tstitch_search.members.loading import load_scheduler
from tstitch_search.members.text_encoders import load_text_parts
from tstitch_search.members.weights import read_json
from tstitch_search.sampling.families.stable_diffusion import sample as sample
from tstitch_search.sampling.families.stable_diffusion import stitch as stitch
from tstitch_search.sampling.stitched_denoiser import StitchedDenoiser

TEXT_PARTS = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")


def load_pipeline(
    space: SpaceConfig, near: Path, denoiser: StitchedDenoiser, vae: nn.Module
) -> StableDiffusionXLPipeline:
    """The stock pipeline around `denoiser` and `vae`, without a watermark."""
    folder = pipeline_folder(space, near, with_weights=True)
    scheduler = load_scheduler(folder / "scheduler", space.solver)
    index = read_json(folder / "model_index.json", "the pipeline")
    pipeline = StableDiffusionXLPipeline(
        unet=denoiser,
        vae=vae,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=index.get("force_zeros_for_empty_prompt", True),
        add_watermarker=False,
        **load_text_parts(folder, TEXT_PARTS, like=vae),
    )
    pipeline.set_progress_bar_config(disable=True)
    denoiser.watch(scheduler)
    return pipeline
