"""Distil the embedded XL into few steps: `python -m tstitch_search.zoo.few_steps`. What ships is the LoRA `XL_fast`.

The teacher is XL with guidance 1.5 in 20 DDIM steps, from noise of its own draw: no real image is needed. The student,
XL with a LoRA and without guidance, learns to do five of those steps in one (progressive distillation, Salimans & Ho,
arXiv 2202.00512, in a single stage): from where the teacher stands before them, to where it stands after. Seeded;
checkpoints into the work folder, and goes on from there when started again. Needs peft.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers import DiTTransformer2DModel
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from torch.nn import functional

from tstitch_search.zoo.data import N_CLASSES
from tstitch_search.zoo.models import LATENT_CHANNELS, LATENT_SIZE, NULL_CLASS, new_scheduler
from tstitch_search.zoo.train import OUT, write_record
from tstitch_search.zoo.trainer import SEED, Course, Recipe, Trainer, print_course

N_STEPS, TEACHER_STEPS, GUIDANCE = 4, 20, 1.5
N_TRAJECTORIES, BATCH = 1920, 64
RANK = 8
# Attention, feed-forward, and the modulation by timestep and label.
LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "ff.net.2", "norm1.linear"]
RECIPE = Recipe(600, BATCH, 1e-3, ema=0.99, weight_decay=0.0)


def load_teacher(folder: Path) -> Any:
    """XL in float32, without gradients; in evaluation mode, since diffusers' DiT would otherwise drop labels."""
    return DiTTransformer2DModel.from_pretrained(folder / "XL").float().eval().requires_grad_(False)


@torch.no_grad()
def teacher_trajectories(teacher: Any, work: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (n, N_STEPS + 1, 4, 8, 8) between the student's steps, labels (n,); kept in the work folder."""
    found = []
    for i in range(N_TRAJECTORIES // BATCH):
        path = work / f"trajectories_{i}.pt"
        if not path.exists():
            partial = path.with_suffix(".partial")
            torch.save(_trajectories(teacher, torch.Generator().manual_seed(SEED + 10_000 + i)), partial)
            partial.replace(path)
            print(f"trajectories: {(i + 1) * BATCH} of {N_TRAJECTORIES}", flush=True)
        found.append(torch.load(path, weights_only=True))
    latents, labels = zip(*found, strict=True)
    return torch.cat(latents), torch.cat(labels)


def _trajectories(teacher: Any, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch of them."""
    labels = torch.randint(N_CLASSES, (BATCH,), generator=generator)
    latents = torch.randn(BATCH, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE, generator=generator)
    both = torch.cat([labels, torch.full_like(labels, NULL_CLASS)])
    scheduler, kept = new_scheduler(), [latents]
    scheduler.set_timesteps(TEACHER_STEPS)
    for i, t in enumerate(scheduler.timesteps):
        asked = {"timestep": t.expand(2 * BATCH), "class_labels": both}
        given, free = teacher(latents.repeat(2, 1, 1, 1), **asked).sample.chunk(2)
        latents = scheduler.step(free + GUIDANCE * (given - free), t, latents).prev_sample
        if (i + 1) % (TEACHER_STEPS // N_STEPS) == 0:
            kept.append(latents)
    return torch.stack(kept, dim=1), labels


def student_of(teacher: Any) -> Any:
    """The same module with an untrained LoRA on its layers; only that one learns."""
    torch.manual_seed(SEED)
    return inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS), teacher)


def velocity_loss(latents: torch.Tensor, labels: torch.Tensor) -> Any:
    """Mean squared error of the velocity with which one DDIM step goes where the teacher's five went."""
    scheduler = new_scheduler()
    scheduler.set_timesteps(N_STEPS)
    times = scheduler.timesteps
    signal = torch.cat([scheduler.alphas_cumprod[times], torch.ones(1)])
    alpha, sigma = signal.sqrt(), (1 - signal).sqrt()

    def loss(net: Any, indices: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        i, step = indices // N_STEPS, indices % N_STEPS
        here, there = latents[i, step], latents[i, step + 1]
        a, s = alpha[step].reshape(-1, 1, 1, 1), sigma[step].reshape(-1, 1, 1, 1)
        a_next, s_next = alpha[step + 1].reshape(-1, 1, 1, 1), sigma[step + 1].reshape(-1, 1, 1, 1)
        wanted = (there - (a_next * a + s_next * s) * here) / (s_next * a - a_next * s)
        predicted = net(here, timestep=times[step], class_labels=labels[i]).sample
        return functional.mse_loss(predicted, wanted)

    return loss


def main() -> None:
    """Train the LoRA unless it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=None, help="CPU threads (default: all)")
    parser.add_argument(
        "--work", type=Path, default=Path("build/zoo"), help="checkpoints and the teacher's trajectories"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the family's folder, where the LoRA goes")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    teacher = load_teacher(args.out)
    latents, labels = teacher_trajectories(teacher, args.work)
    course = Course(print_course, save_every=100)
    net, loss, n_pairs = student_of(teacher), velocity_loss(latents, labels), N_STEPS * len(latents)
    trainer = Trainer("XL_fast", RECIPE, net, loss, n_pairs, args.work, "cpu", course=course)
    trainer.run()
    save(trainer, args.out)


def save(trainer: Trainer, out: Path) -> None:
    """The averaged LoRA in PEFT's form and float16, and the record of its training, whose parameters are its own."""
    state = trainer.averaged().state_dict()
    half = {key.replace(".default", ""): value.half().contiguous() for key, value in state.items() if "lora_" in key}
    (out / "XL_fast").mkdir(exist_ok=True)
    save_file(half, out / "XL_fast" / "pytorch_lora_weights.safetensors")
    write_record(out, "XL_fast", {**trainer.record(), "n_parameters": sum(v.numel() for v in half.values())})


if __name__ == "__main__":
    main()
