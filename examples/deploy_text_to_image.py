"""Two entries of a lookup table, one after the other, in a stock Stable Diffusion pipeline; SDXL works alike.

`python examples/deploy_text_to_image.py reports/my_sd/lookup.json "a lighthouse"` writes fast.png and best.png.
"""

import sys
from pathlib import Path

import torch
from diffusers import AutoPipelineForText2Image, UNet2DConditionModel

from tstitch_search import LookupTable, stitch

DEVICE, DTYPE = ("cuda", torch.float16) if torch.cuda.is_available() else ("cpu", torch.float32)


def main() -> None:
    """Load what the table names, stitch, draw; then switch the entry and draw again."""
    path, prompt = Path(sys.argv[1]), sys.argv[2]
    table = LookupTable.read(path)
    space = table.provenance["study"]["search_space"]
    # Accelerated denoisers are not loaded: `stitch` makes them of the plain ones, whose weights they share.
    plain = [denoiser for denoiser in space["denoisers"] if not denoiser["accelerator"]]
    members = {denoiser["name"]: load_unet(denoiser, path.parent) for denoiser in plain}
    pipeline = AutoPipelineForText2Image.from_pretrained(
        place_of(space["pipeline"], path.parent),
        revision=space["pipeline_revision"],
        unet=members[plain[-1]["name"]],
    ).to(DEVICE, DTYPE)

    fastest, best = table.entries[0], table.entries[-1]
    stitch(pipeline, fastest, members=members, table=table)
    draw(pipeline, prompt).save("fast.png")
    stitch(pipeline, best)  # nothing is loaded again
    draw(pipeline, prompt).save("best.png")
    print(fastest.allocation, best.allocation)


def draw(pipeline, prompt: str):
    """The image; the same noise whichever entry makes it."""
    noise = torch.Generator().manual_seed(0)
    return pipeline(prompt, generator=noise).images[0]


def load_unet(denoiser: dict, near: Path) -> UNet2DConditionModel:
    """The denoiser as the table describes it."""
    return UNet2DConditionModel.from_pretrained(
        place_of(denoiser["weights"], near),
        subfolder=denoiser["subfolder"],
        revision=denoiser["revision"],
        use_safetensors=True,
    ).to(DEVICE, DTYPE)


def place_of(text: str, near: Path) -> str:
    """A folder, written as seen from the table, or a hub id."""
    return str(near / text) if (near / text).is_dir() else text


if __name__ == "__main__":
    main()
