"""A server that chooses the allocation for each request by its time budget; every member is in memory once.

`python examples/serve_by_budget.py reports/small-first-sample/lookup.json 8000` (needs uvicorn), then for example
`curl "localhost:8000/?label=7&seed=1&budget=0.2" -o sneaker.png`. The answer's header `allocation` says who made it.
"""

import asyncio
import copy
import io
import sys
from importlib.resources import files
from pathlib import Path
from urllib.parse import parse_qsl

import torch
import uvicorn
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from tstitch_search import LookupTable, stitch
from tstitch_search.errors import QualityGateError

FAMILY = Path(str(files("tstitch_search.zoo") / "fashion"))


def load(table: LookupTable) -> DiTPipeline:
    """The embedded family's pipeline, stitched; it stands for all requests and is never called itself."""
    members = {name: DiTTransformer2DModel.from_pretrained(FAMILY / name) for name in ("S", "B", "XL")}
    pipeline = DiTPipeline(
        transformer=members["XL"],
        vae=AutoencoderKL.from_pretrained(FAMILY / "vae"),
        scheduler=DDIMScheduler.from_pretrained(FAMILY / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    return stitch(pipeline, table.entries[0], members=members, table=table)


def draw(pipeline: DiTPipeline, table: LookupTable, label: int, seed: int, budget_s: float) -> tuple[str, bytes]:
    """The allocation within the budget, or the fastest where none is, and its image of the class as PNG."""
    try:
        entry = table.pick(budget_s=budget_s)
    except QualityGateError:
        entry = table.entries[0]
    request = stitch(copy.copy(pipeline), entry)  # a pipeline for this request, over the same members
    image = request([label], guidance_scale=1, generator=torch.Generator().manual_seed(seed)).images[0]
    png = io.BytesIO()
    image.save(png, format="png")
    return str(entry.allocation), png.getvalue()


class Server:
    """An ASGI application: GET /?label=7&seed=1&budget=0.2 is answered with an image."""

    def __init__(self, table: LookupTable):
        self.table, self.pipeline = table, load(table)

    async def __call__(self, scope, receive, send):
        """Answer one request; requests are answered side by side, each in a thread of its own."""
        if scope["type"] != "http":
            return
        try:
            asked = dict(parse_qsl(scope["query_string"].decode()))
            label, seed, budget_s = int(asked["label"]), int(asked.get("seed", 0)), float(asked["budget"])
            if not 0 <= label < 10:
                raise ValueError(f"label {label}, expected 0 to 9")
        except (KeyError, ValueError) as error:
            await answer(send, 400, {}, f"ask for /?label=7&seed=1&budget=0.2: {error}\n".encode())
            return
        name, png = await asyncio.to_thread(draw, self.pipeline, self.table, label, seed, budget_s)
        await answer(send, 200, {"content-type": "image/png", "allocation": name}, png)


async def answer(send, status: int, headers: dict[str, str], body: bytes) -> None:
    """Send it all at once."""
    pairs = [(key.encode(), value.encode()) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(Server(LookupTable.read(sys.argv[1])), port=int(sys.argv[2]), lifespan="off", log_level="warning")
