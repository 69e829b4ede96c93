"""Train the embedded family from nothing: `python -m tstitch_search.zoo.train`.

Order: autoencoder and feature classifier, then the denoisers on the autoencoder's latents. Every stage is seeded,
checkpoints every 500 steps into the work folder, goes on from there when started again, and is skipped when its
result exists. Two processes with different `--only` may run beside each other.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from tstitch_search.zoo import features
from tstitch_search.zoo.data import load_fashion_mnist
from tstitch_search.zoo.models import MEMBERS, NULL_CLASS, new_denoiser, new_scheduler, new_vae
from tstitch_search.zoo.objective import LabelledLatents, Process, denoising_loss, latent_moments
from tstitch_search.zoo.trainer import SEED, Recipe, Trainer

OUT = Path(__file__).parent / "fashion"
KL_WEIGHT = 1e-3
# The share of its training after which S_early is taken (weakly trained small models: paper, appendix A.17).
EARLY_SHARE = 0.08


RECIPES = {
    "vae": Recipe(3_500, 64, 2e-3, ema=0.99),
    "features": Recipe(3_300, 128, 2e-3, ema=0.99),
    "S": Recipe(12_000, 64, 2e-3),
    "B": Recipe(16_000, 64, 1.5e-3),
    "U": Recipe(5_000, 64, 6e-4),
    "XL": Recipe(9_500, 64, 5e-4),
}


def train_vae(images: torch.Tensor, work: Path, device: str) -> Trainer:
    """The autoencoder: L1 distance plus a weak pull of the latents towards a normal distribution."""

    def loss(net: Any, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        batch = images[indices].to(device)
        with torch.autocast(device, dtype=torch.bfloat16):
            posterior = net.encode(batch).latent_dist
            noise = torch.randn(posterior.mean.shape, generator=generator).to(device)
            decoded = net.decode(posterior.mean + posterior.std * noise).sample
        return functional.l1_loss(decoded.float(), batch) + KL_WEIGHT * posterior.kl().float().mean() / noise[0].numel()

    return Trainer("vae", RECIPES["vae"], new_vae(), loss, len(images), work, device)


def train_features(images: torch.Tensor, labels: torch.Tensor, work: Path, device: str) -> Trainer:
    """The classifier behind the features: cross-entropy with shifts of up to two pixels and mirror images."""

    def loss(net: Any, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        dx, dy, mirror = (int(torch.randint(k, (1,), generator=generator)) for k in (5, 5, 2))
        batch = torch.roll(images[indices], (dx - 2, dy - 2), dims=(2, 3))
        _, logits = net((batch.flip(3) if mirror else batch).to(device))
        return functional.cross_entropy(logits, labels[indices].to(device), label_smoothing=0.05)

    return Trainer("features", RECIPES["features"], features.FashionClassifier(), loss, len(images), work, device)


def train_denoiser(name: str, moments: torch.Tensor, labels: torch.Tensor, work: Path, device: str) -> Trainer:
    """A denoiser on latents (n, 8, 8, 8) = (mean, std): mean squared error of the predicted velocity."""
    signal = new_scheduler().alphas_cumprod
    process = Process(
        signal.sqrt(), (1 - signal).sqrt(), lambda clean, noise, alpha, sigma: alpha * noise - sigma * clean
    )
    data = LabelledLatents(moments, labels, NULL_CLASS)
    loss = denoising_loss(data, process, torch.arange(len(signal)), device)
    # Evaluation mode: diffusers' DiT would otherwise drop labels again, in each block on its own.
    return Trainer(name, RECIPES[name], new_denoiser(name).eval(), loss, len(moments), work, device)


def encode_all(vae: AutoencoderKL, images: torch.Tensor, path: Path, device: str) -> torch.Tensor:
    """Latents (n, 8, 8, 8) float16: scaled mean and standard deviation of every image, cached at `path`."""
    if not path.exists():
        vae = vae.to(device)
        torch.save(torch.cat([latent_moments(vae, batch.to(device)) for batch in images.split(500)]), path)
    return torch.load(path, weights_only=True)


@torch.no_grad()
def latent_scale(vae: AutoencoderKL, images: torch.Tensor) -> float:
    """One over the standard deviation of the latents, so that scaled latents have unit variance."""
    means = torch.cat([vae.encode(batch).latent_dist.sample() for batch in images[:10_000].split(500)])
    return float(1 / means.std())


@torch.no_grad()
def write_reference(images: np.ndarray, labels: np.ndarray, out: Path) -> None:
    """Reference features: mu and sigma of all training images, and the features of a balanced 10,000 of them."""
    extractor = features.FashionFeatureExtractor(features.NAME, [str(features.FEATURE_DIM)])
    rgb = torch.from_numpy(images)[:, None].expand(-1, 3, -1, -1)
    values = torch.cat([extractor(batch)[0] for batch in rgb.split(500)]).numpy()
    chosen = np.concatenate([np.flatnonzero(labels == c)[:1_000] for c in range(10)])
    np.savez_compressed(
        out / "reference.npz",
        mu=values.mean(0, dtype=np.float64),
        sigma=np.cov(values.astype(np.float64), rowvar=False),
        n_images=np.int64(len(values)),
        features=values[np.sort(chosen)].astype(np.float16),
    )


@torch.no_grad()
def test_accuracy(net: nn.Module, work: Path) -> float:
    """Share of the 10,000 test images that the classifier names rightly."""
    images, labels = load_fashion_mnist("t10k", work)
    logits = torch.cat([net(batch)[1] for batch in as_tensor(images).split(500)])
    return float((logits.argmax(1) == torch.from_numpy(labels)).float().mean())


def as_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 (n, 32, 32) -> float (n, 1, 32, 32) in [-1, 1]."""
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1


def write_record(out: Path, name: str, record: dict[str, object]) -> None:
    """One JSON file per network: how it was trained, for the model card."""
    (out / "training").mkdir(exist_ok=True)
    (out / "training" / f"{name}.json").write_text(json.dumps(record) + "\n")


def main() -> None:
    """Train what is asked for and missing."""
    stages = ("vae", "features", *MEMBERS)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=stages, default=stages, help="train these networks only")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    parser.add_argument("--work", type=Path, default=Path("build/zoo"), help="checkpoints and cached latents")
    parser.add_argument("--out", type=Path, default=OUT, help="where the trained family goes")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    images_u8, labels_np = load_fashion_mnist("train", args.work)
    images, labels = as_tensor(images_u8), torch.from_numpy(labels_np)
    for name in args.only:
        if name == "vae":
            finish_vae(train_vae(images, args.work, args.device), images, args.out)
        elif name == "features":
            finish_features(train_features(images, labels, args.work, args.device), images_u8, labels_np, args)
        else:
            finish_denoiser(name, images, labels, args)


def finish_vae(trainer: Trainer, images: torch.Tensor, out: Path) -> None:
    """Train, scale and save the autoencoder beside the family's scheduler."""
    if (out / "vae").exists():
        return
    trainer.run()
    vae: Any = trainer.averaged().cpu()
    vae.register_to_config(scaling_factor=latent_scale(vae, images))
    vae.half().save_pretrained(out / "vae")
    new_scheduler().save_pretrained(out / "scheduler")
    write_record(out, "vae", trainer.record())


def finish_features(trainer: Trainer, images: np.ndarray, labels: np.ndarray, args: argparse.Namespace) -> None:
    """Train and save the classifier, then the reference features it gives."""
    path = args.out / "features.safetensors"
    if not path.exists():
        trainer.net.train()
        trainer.run()
        net = trainer.averaged().cpu()
        save_file(net.state_dict(), path)
        write_record(args.out, "features", {**trainer.record(), "test_accuracy": test_accuracy(net, args.work)})
    write_reference(images, labels, args.out)


def finish_denoiser(name: str, images: torch.Tensor, labels: torch.Tensor, args: argparse.Namespace) -> None:
    """Train and save one member; S also leaves its early self."""
    if (args.out / name).exists():
        return
    vae = type(new_vae()).from_pretrained(args.out / "vae").float()
    latents = encode_all(vae, images, args.work / "latents.pt", args.device)
    trainer = train_denoiser(name, latents, labels, args.work, args.device)
    early = round(EARLY_SHARE * trainer.recipe.n_steps)
    if name == "S" and trainer.step < early:
        trainer.run(until=early)
        state = {key: value.clone() for key, value in trainer.net.state_dict().items()}
        trainer.averaged().half().save_pretrained(args.out / "S_early")
        trainer.net.float().load_state_dict(state)
    trainer.run()
    trainer.averaged().half().save_pretrained(args.out / name)
    write_record(args.out, name, trainer.record())


if __name__ == "__main__":
    main()
