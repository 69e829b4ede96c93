"""Every allocation of a space on the same images, each beginning sampled once: landscapes that samplers are judged on.

    uv run python benchmarks/prefix_landscape.py guided --output build/landscapes/guided    # minutes on a GPU

Trajectories that begin alike are sampled once, as a tree of prefixes. Two spaces of the embedded family, on a grid of
0.2 of 20 DDIM steps:

    guided    B and XL, each without guidance and with scale 1.5 (Bg, XLg), any order, at most two switches: 268
    four      S, B, U, XL without guidance, small ones first: 56

The output folder holds, after every batch of images: NAME.csv (allocation, time relative to a step of XL, FID of all
images and of each tenth of them), NAME.json (device, versions, n) and NAME_K.npz: float16 features (n_kept, 64) of each
allocation's first images. It needs torch, diffusers, torch-fidelity and numpy alone.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTTransformer2DModel, UNet2DModel
from torch import Tensor, nn

from tstitch_search.allocation import Allocation
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.reference import load_reference
from tstitch_search.zoo.features import FEATURE_DIM, NAME, FashionFeatureExtractor

ZOO = Path(__file__).parent.parent / "tstitch_search" / "zoo" / "fashion"
N_STEPS, N_PARTS, MAX_SWITCHES, SCALE, NULL_CLASS = 20, 5, 2, 1.5, 10
BYTES_PER_FILE = 14e6
# Members as (weights, guidance scale), cheap ones first.
SPACES = {
    "guided": {"B": ("B", 1.0), "Bg": ("B", SCALE), "XL": ("XL", 1.0), "XLg": ("XL", SCALE)},
    "four": {name: (name, 1.0) for name in ("S", "B", "U", "XL")},
}
# Seconds of a step relative to XL's without guidance on 2 cores of an AMD EPYC, batch 16 (`tstitch-search calibrate`);
# a guided step asks twice.
STEP = {"S": 0.074, "B": 0.131, "U": 0.45, "XL": 1.0}
FIXED = 1.19


@dataclass(frozen=True)
class Member:
    """One denoiser of the zoo with a guidance scale; 1 asks the conditional half alone."""

    net: nn.Module
    scale: float

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        if self.scale == 1:
            return self.net(x, timestep=t.expand(len(x)), class_labels=labels).sample
        both = torch.cat([labels, torch.full_like(labels, NULL_CLASS)])
        answer = self.net(torch.cat([x, x]), timestep=t.expand(2 * len(x)), class_labels=both).sample
        conditional, unconditional = answer.chunk(2)
        return unconditional + self.scale * (conditional - unconditional)


@dataclass
class Sampler:
    """Samples every allocation of `members` on the same images, prefix by prefix."""

    members: dict[str, Member]
    device: torch.device
    is_small_first: bool

    def __post_init__(self) -> None:
        self.vae = AutoencoderKL.from_pretrained(ZOO / "vae").to(self.device).eval()
        self.scheduler = DDIMScheduler.from_pretrained(ZOO / "scheduler")
        self.scheduler.set_timesteps(N_STEPS)
        self.extractor = FashionFeatureExtractor(NAME, [str(FEATURE_DIM)]).to(self.device)

    def features(self, first: int, n: int) -> Iterator[tuple[Allocation, Tensor]]:
        """Each allocation with its features (n, 64) of the images `first` to `first + n - 1`."""
        seeds = range(first, first + n)
        noise = torch.stack([torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(10**6 + i)) for i in seeds])
        labels = torch.tensor([i % NULL_CLASS for i in seeds])
        yield from self._from((), noise.to(self.device), labels.to(self.device))

    def _from(self, path: tuple[str, ...], x: Tensor, labels: Tensor) -> Iterator[tuple[Allocation, Tensor]]:
        """All allocations that begin with `path`, whose latents at its end are `x` (n, 4, 8, 8)."""
        if len(path) == N_PARTS:
            yield Allocation.of((name, N_STEPS // N_PARTS) for name in path), self._extract(x)
            return
        for name in self.members:
            if self._allows((*path, name)):
                yield from self._from((*path, name), self._part(name, len(path), x, labels), labels)

    def _allows(self, path: tuple[str, ...]) -> bool:
        if self.is_small_first:
            order = [list(self.members).index(name) for name in path]
            return order == sorted(order)
        return sum(a != b for a, b in pairwise(path)) <= MAX_SWITCHES

    def _part(self, name: str, part: int, x: Tensor, labels: Tensor) -> Tensor:
        """`x` after one part of the steps taken by the member `name`."""
        length = N_STEPS // N_PARTS
        for t in self.scheduler.timesteps[part * length : (part + 1) * length]:
            x = self.scheduler.step(self.members[name](x, t.to(self.device), labels), t, x).prev_sample
        return x

    def _extract(self, x: Tensor) -> Tensor:
        images = self.vae.decode(x / self.vae.config.scaling_factor).sample
        as_bytes = ((images / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return self.extractor(as_bytes.repeat(1, 3, 1, 1))[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", choices=SPACES)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--keep", type=int, default=1_500, help="images whose features are kept")
    parser.add_argument("--batch", type=int, default=2_500)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further batch after this time")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    torch.set_grad_enabled(False)
    device, began = torch.device(arguments.device), time.monotonic()
    nets = {weights: load(weights, device) for weights, _ in SPACES[arguments.space].values()}
    members = {name: Member(nets[weights], scale) for name, (weights, scale) in SPACES[arguments.space].items()}
    sampler, found = Sampler(members, device, arguments.space == "four"), dict[Allocation, list[np.ndarray]]()
    for first in range(0, arguments.n, arguments.batch):
        if time.monotonic() - began > arguments.seconds:
            break
        for allocation, features in sampler.features(first, arguments.batch):
            found.setdefault(allocation, []).append(features.cpu().numpy())
        said = f"{first + arguments.batch} images of {len(found)} allocations, {time.monotonic() - began:.0f} s"
        print(said, flush=True)
        write(arguments, {a: np.concatenate(parts) for a, parts in found.items()}, device, time.monotonic() - began)


def load(weights: str, device: torch.device) -> nn.Module:
    """A denoiser of the embedded family."""
    kind = UNet2DModel if weights == "U" else DiTTransformer2DModel
    return kind.from_pretrained(ZOO / weights).to(device).eval()


def write(
    arguments: argparse.Namespace, features: dict[Allocation, np.ndarray], device: torch.device, s: float
) -> None:
    """Write what was measured so far, after `s` seconds."""
    distance, folder, name = FrechetDistance(load_reference("reference.npz", ZOO)), arguments.output, arguments.space
    with (folder / f"{name}.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["allocation", "relative_time", "n_images", "fid", *(f"fid_tenth_{i}" for i in range(10))])
        for a, x in features.items():
            tenths = [f"{distance(part):.6f}" for part in np.array_split(x, 10)]
            writer.writerow([a, f"{relative_time(a):.6f}", len(x), f"{distance(x):.6f}", *tenths])
    kept = {str(a): x[: arguments.keep].astype(np.float16) for a, x in features.items()}
    names, per_file = list(kept), max(1, int(BYTES_PER_FILE / next(iter(kept.values())).nbytes))
    for k, first in enumerate(range(0, len(names), per_file)):
        np.savez(folder / f"{name}_{k}.npz", **{n: kept[n] for n in names[first : first + per_file]})
    about = {
        "members": SPACES[name],
        "n_steps": N_STEPS,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "n_images": len(next(iter(features.values()))),
        "n_kept": arguments.keep,
        "seconds": round(s, 1),
    }
    (folder / f"{name}.json").write_text(json.dumps(about, indent=2) + "\n")


def relative_time(allocation: Allocation) -> float:
    """Time of a batch in steps of XL without guidance."""
    steps = (
        n * STEP[name.removesuffix("g")] * (2 if name.endswith("g") else 1) for name, n in allocation.steps.items()
    )
    return FIXED + sum(steps)


if __name__ == "__main__":
    main()
