"""An entry of a lookup table in a stock diffusers pipeline, for two time budgets.

`python examples/deploy_zoo.py reports/quickstart-sample/lookup.json` writes fast.png and good.png.
"""

import sys
from importlib.resources import files
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from tstitch_search import LookupTable, stitch

FAMILY = Path(str(files("tstitch_search.zoo") / "fashion"))
CLASSES = list(range(10))  # T-shirt, trouser, pullover, ...


def main() -> None:
    """Draw one image of each class with the fastest entry, and with the best within half of the largest's time."""
    table = LookupTable.read(sys.argv[1])
    members = {name: DiTTransformer2DModel.from_pretrained(FAMILY / name) for name in ("B", "XL")}
    pipeline = DiTPipeline(
        transformer=members["XL"],
        vae=AutoencoderKL.from_pretrained(FAMILY / "vae"),
        scheduler=DDIMScheduler.from_pretrained(FAMILY / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)

    fastest, largest = table.entries[0], table.entries[-1]
    draw(stitch(pipeline, fastest, members=members, table=table)).save("fast.png")
    # From the second time on the name of the entry is enough: nothing is loaded again.
    good = table.pick(budget_s=largest.latency_s / 2)
    draw(stitch(pipeline, good)).save("good.png")
    print(fastest.allocation, good.allocation)


def draw(pipeline: DiTPipeline):
    """The images side by side; the same noise whichever entry makes them."""
    from PIL import Image

    noise = torch.Generator().manual_seed(0)
    images = pipeline(CLASSES, generator=noise).images
    row = Image.new("L", (sum(image.width for image in images), images[0].height))
    for i, image in enumerate(images):
        row.paste(image, (i * image.width, 0))
    return row


if __name__ == "__main__":
    main()
