"""Is time known before it is measured? The paper's figure 1 on this GPU: first DiT-S/2, then DiT-XL/2.

    uv run python benchmarks/gpu_latency.py [--dtype float16 bfloat16] [--compile] [--channels-last] [--offload]
    uv run python benchmarks/gpu_latency.py --reduced

0 to 100 % small, members of the real sizes with random weights, since time does not depend on the values: 256x256
images, DDIM 100 steps, guidance 1.5, batch of 8. One calibration predicts every allocation, then each is measured end
to end. Writes results/gpu_latency.{json,md} on a GPU only; `--reduced` runs the same code with small members in
seconds, on a CPU too.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel
from diffusers.utils import logging

from tstitch_search.allocation import Allocation
from tstitch_search.config.models import DenoiserConfig, ExecutionConfig, SpaceConfig
from tstitch_search.latency_model import LatencyModel
from tstitch_search.measure.clock import clock_of
from tstitch_search.measure.latency import Stand, calibrate, median_se, time_allocations
from tstitch_search.measure.memory import memory_of, tensors_mb
from tstitch_search.measurement import AllocationTime, Calibrate, TimeAllocations
from tstitch_search.members.device import device_name, resolve_device
from tstitch_search.members.execution import Offload, attention, home_of_members, prepare
from tstitch_search.sampling.conditions import Condition
from tstitch_search.sampling.families import dit
from tstitch_search.study_run.folder import environment

HERE = Path(__file__).parent
PAPER = json.loads((HERE / "paper_dit_times.json").read_text())
GUIDANCE_SCALE = 1.5


@dataclass(frozen=True)
class Setting:
    """Sizes of the members (heads, width of a head, layers), of latents and VAE, and of the sampling."""

    members: Mapping[str, tuple[int, int, int]]
    latent_size: int
    vae_channels: tuple[int, ...]
    n_steps: int
    batch_size: int
    n_repeats: int


# DiT (Peebles & Xie, arXiv 2212.09748), table 1, and the VAE of Stable Diffusion.
REAL = Setting({"S": (6, 64, 12), "B": (12, 64, 12), "XL": (16, 72, 28)}, 32, (128, 256, 512, 512), 100, 8, 7)
REDUCED = Setting({"S": (1, 32, 1), "B": (2, 32, 2), "XL": (4, 32, 4)}, 8, (32, 32), 10, 2, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dtype", nargs="+", default=["float16", "bfloat16"], choices=["float32", "float16", "bfloat16"]
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile the members")
    parser.add_argument("--channels-last", action="store_true", help="channels-last memory format")
    parser.add_argument("--offload", action="store_true", help="only the member whose turn it is on the GPU")
    parser.add_argument("--reduced", action="store_true", help="small members, few steps, float32; on any device")
    given = parser.parse_args()
    logging.set_verbosity_error()
    device = resolve_device("auto" if given.reduced else "cuda")
    options = ExecutionConfig(
        compile=given.compile, channels_last=given.channels_last, offload="model" if given.offload else "none"
    )
    setting, dtypes = (REDUCED, ["float32"]) if given.reduced else (REAL, given.dtype)
    results = {f"{dtype}, {options}": measure(setting, dtype, options, device) for dtype in dtypes}
    print(page := "\n".join(as_markdown(name, result) for name, result in results.items()))
    if device.type == "cuda" and not given.reduced:
        path = HERE / "results" / "gpu_latency.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(known | results, indent=2) + "\n")
        page = "\n".join(as_markdown(name, result) for name, result in (known | results).items())
        path.with_suffix(".md").write_text(f"# Time predicted and measured on a GPU\n\n{page}")


@torch.no_grad()
def measure(setting: Setting, dtype: str, options: ExecutionConfig, device: torch.device) -> dict[str, Any]:
    """The calibration, and every allocation of the sweep as predicted and as measured."""
    stand = build(setting, getattr(torch, dtype), options, device)
    latency = LatencyModel(calibrate(Calibrate(tuple(setting.members), setting.n_steps, setting.n_repeats), stand))
    sweep = [from_fraction(fraction, setting.n_steps) for fraction in PAPER["small_fraction"]]
    entries = (*sweep, Allocation.of([("B", setting.n_steps)]))
    times = time_allocations(TimeAllocations(entries, setting.n_repeats), stand).times
    rows = [row(allocation, time, latency) for allocation, time in zip(entries, times, strict=True)]
    for measured, paper_s in zip(rows, (*PAPER["time_s"], PAPER["alone_s"]["B"]), strict=True):
        measured["paper_s"] = paper_s
    return {
        "calibration": asdict(latency.calibration),
        "n_steps": setting.n_steps,
        "paper": PAPER["source"],
        "environment": environment(),
        "rows": rows,
    }


def from_fraction(small: float, n_steps: int) -> Allocation:
    """S for this share of the steps, then XL."""
    n_small = round(small * n_steps)
    return Allocation.of([("S", n_small), ("XL", n_steps - n_small)])


def row(allocation: Allocation, time: AllocationTime, latency: LatencyModel) -> dict[str, Any]:
    """An allocation's times: measured, from the calibration, and the error within the measurement's own minute."""
    predicted_s = latency.latency_s(allocation)
    return {
        "allocation": str(allocation),
        "predicted_s": predicted_s,
        "predicted_se": latency.latency_se(allocation),
        "measured_s": time.latency_s,
        "measured_se": median_se(time.seconds),
        "error": time.latency_s / predicted_s - 1,
        "error_within_job": time.prediction_error,
        "peak_memory_mb": time.peak_memory_mb,
    }


def build(setting: Setting, dtype: torch.dtype, options: ExecutionConfig, device: torch.device) -> Stand:
    """Members and VAE of the setting's sizes with random weights, in a stock pipeline, ready to be timed."""
    torch.manual_seed(0)
    home = home_of_members(options, device)
    members = {name: new_member(size, setting).to(home, dtype) for name, size in setting.members.items()}
    vae = new_vae(setting).to(device, dtype)
    prepare(members.values(), vae, options)
    denoiser = dit.stitch(members)
    if options.offload == "model":
        denoiser.offload = Offload(members.values(), device)
    pipeline = load_pipeline(setting, denoiser, vae)

    def run(allocation: Allocation, on_step: Callable[[int], None]) -> None:
        denoiser.set_allocation(allocation)
        denoiser.on_step = on_step
        generators = [torch.Generator(device).manual_seed(i) for i in range(setting.batch_size)]
        with attention(options):
            dit.sample(
                pipeline, [Condition(i) for i in range(setting.batch_size)], generators, setting.n_steps, GUIDANCE_SCALE
            )

    weights_mb = {name: tensors_mb([member]) for name, member in members.items()}
    return Stand(
        run=run,
        clock=clock_of(device),
        memory=memory_of(device),
        device=device_name(device),
        batch_size=setting.batch_size,
        weights_mb=weights_mb,
        resident_mb=dict.fromkeys(members, 0.0) if denoiser.offload else weights_mb,
        shared_mb=tensors_mb([vae]),
    )


def new_member(size: tuple[int, int, int], setting: Setting) -> DiTTransformer2DModel:
    n_heads, head_width, n_layers = size
    member = DiTTransformer2DModel(
        num_attention_heads=n_heads,
        attention_head_dim=head_width,
        num_layers=n_layers,
        sample_size=setting.latent_size,
        in_channels=4,
        out_channels=8,
        patch_size=2,
        num_embeds_ada_norm=1000,
    )
    return member.eval().requires_grad_(False)


def new_vae(setting: Setting) -> AutoencoderKL:
    n_blocks = len(setting.vae_channels)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * n_blocks,
        up_block_types=("UpDecoderBlock2D",) * n_blocks,
        block_out_channels=setting.vae_channels,
        layers_per_block=2,
        sample_size=setting.latent_size * 2 ** (n_blocks - 1),
    )
    return vae.eval().requires_grad_(False)


def load_pipeline(setting: Setting, denoiser: Any, vae: AutoencoderKL) -> Any:
    """The family's own pipeline, with the DDIM that DiT was published with."""
    space = SpaceConfig(
        name="paper_dit",
        family="dit",
        pipeline=".",
        denoisers=tuple(DenoiserConfig(name=name, weights="random") for name in setting.members),
        n_steps=setting.n_steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        DDIMScheduler(clip_sample=False).save_pretrained(Path(folder) / "scheduler")
        return dit.load_pipeline(space, Path(folder), denoiser, vae)


def as_markdown(name: str, result: dict[str, Any]) -> str:
    """The sweep as a table, beside the paper's column, and how far the predictions are off."""
    c, rows = result["calibration"], result["rows"]
    steps = "; ".join(f"{k} {1000 * s:.3f} ± {1000 * c['step_se'][k]:.3f} ms" for k, s in c["step_s"].items())
    switches = "; ".join(f"{k} {1000 * s:+.3f} ± {1000 * c['switch_se'][k]:.3f} ms" for k, s in c["switch_s"].items())
    memory = "; ".join(f"{k} {mb:.0f} MB" for k, mb in c["member_memory_mb"].items())
    lines = [
        f"## {name}: {c['device']}, {result['n_steps']} steps, batch of {c['batch_size']}\n",
        f"Per step: {steps}. Beginning a segment: {switches}. Outside the steps: {1000 * c['fixed_s']:.2f} ± "
        f"{1000 * c['fixed_se']:.2f} ms. Alone in memory: {memory}. Repeats differ by {c['spread']:.1%}.\n",
        "| allocation | predicted, s | measured, s | error | within its job | speed-up | paper, s | paper's speed-up |",
        "|---|---|---|---|---|---|---|---|",
        *(table_row(r, largest=rows[0]) for r in rows),
        f"\nPredictions are off by {summary([r['error'] for r in rows])}; from steps of the same job by "
        f"{summary([r['error_within_job'] for r in rows])}. Paper: {result['paper']}.\n",
    ]
    return "\n".join(lines)


def table_row(r: dict[str, Any], largest: dict[str, Any]) -> str:
    cells = (
        f"`{r['allocation']}`",
        f"{r['predicted_s']:.4f} ± {r['predicted_se']:.4f}",
        f"{r['measured_s']:.4f} ± {r['measured_se']:.4f}",
        f"{r['error']:+.1%}",
        f"{r['error_within_job']:+.1%}",
        f"{largest['measured_s'] / r['measured_s']:.2f}x",
        f"{r['paper_s']}",
        f"{largest['paper_s'] / r['paper_s']:.2f}x",
    )
    return f"| {' | '.join(cells)} |"


def summary(errors: Sequence[float]) -> str:
    return f"{median(map(abs, errors)):.1%} (median of {len(errors)}), at most {max(map(abs, errors)):.1%}"


if __name__ == "__main__":
    main()
