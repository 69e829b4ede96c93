"""What a metric per image or per pair costs beside the image itself. Writes results/metric_cost.{json,md}.

    OMP_NUM_THREADS=1 uv run python benchmarks/metric_cost.py

The embedded family: its own images, held against XL's. 512 pixels: random pictures, networks of the published sizes
with random weights (which take as long), and for the image itself one step of a U-Net of Stable Diffusion's size, times
20 steps with guidance. Processor seconds per image on one thread, the median of three calls.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers
from torchvision.models import alexnet
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedTokenizerFast,
)

from tstitch_search.allocation import Allocation
from tstitch_search.config import load_study
from tstitch_search.config.models import QualityConfig
from tstitch_search.measure.features import extract, load_extractor
from tstitch_search.measure.measurer import StudyMeasurer
from tstitch_search.measure.scores import Scores
from tstitch_search.measurement import Chunk, MakeImages
from tstitch_search.study_run.folder import environment

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CPU, N_SMALL, N_LARGE, N_STEPS = torch.device("cpu"), 50, 2, 20
PROMPT = "a red car in the rain"
LARGE = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
HUGE = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
WORDS_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}


def main() -> None:
    torch.manual_seed(0)
    document = {"embedded": embedded(), "large": large(), "environment": environment()}
    (RESULTS / "metric_cost.json").write_text(json.dumps(document, indent=2) + "\n")
    (RESULTS / "metric_cost.md").write_text(page(document))


def seconds(call: Callable[[], object], n_images: int, n_calls: int = 3) -> float:
    """Processor seconds of this process for an image."""
    found = []
    for _ in range(n_calls):
        began = time.process_time()
        call()
        found.append((time.process_time() - began) / n_images)
    return median(found)


def embedded() -> dict[str, float]:
    """By what is made: an image of each denoiser alone, and each value of it."""
    study = load_study(ROOT / "studies" / "perceptual.yaml", ("workers.device=cpu", "workers.device_batch_size=50"))
    measurer = StudyMeasurer(study, threads=1)
    measurer.load()
    chunk, found, made = Chunk("search", 0, N_SMALL), {}, {}
    for text in ("S*20", "B*20", "XL*20"):
        job, answers = MakeImages(Allocation.parse(text), chunk), []
        found[f"image, {text}"] = seconds(lambda job=job, answers=answers: answers.append(measurer.do(job)), N_SMALL, 1)
        made[text] = answers[0]
    x, y = (torch.from_numpy(np.asarray(made[text])).movedim(-1, 1).contiguous() for text in ("S*20", "XL*20"))
    extractor = load_extractor("fashion-cnn", None, CPU)
    found["features for FID"] = seconds(lambda: extract(extractor, x), N_SMALL)
    quality = {"extractor": "fashion-cnn"}
    for name in ("psnr", "ssim", "perceptual"):
        found[name] = score(name, x, y, quality, Path())
    return found


def score(name: str, x: torch.Tensor, y: torch.Tensor, quality: Mapping[str, str], near: Path) -> float:
    """Seconds of the metric for each image of x, as a worker computes it."""
    scores = Scores.load(QualityConfig(objective=name, **quality), near, CPU)
    n = len(x)
    taken = seconds(lambda: scores.of(x, [PROMPT] * n, y), n)
    print(name, taken, flush=True)
    return taken


def large() -> dict[str, float]:
    """The same at 512 pixels, of networks of the published sizes."""
    x, y = (torch.randint(0, 256, (N_LARGE, 3, 512, 512), dtype=torch.uint8) for _ in range(2))
    step = seconds_of_a_step()
    found = {f"image, {N_STEPS} steps of a U-Net of SD 1.5's size with guidance": 2 * N_STEPS * step}
    print(found, flush=True)
    with TemporaryDirectory() as folder:
        near = Path(folder)
        save_weights(near)
        for name in ("psnr", "ssim", "lpips", "dino_distance", "clip_distance", "clip_score", "pick_score"):
            found[name] = score(name, x, y, NAMED, near)
    return found


def seconds_of_a_step() -> float:
    """Of a U-Net of Stable Diffusion's size, one half of the guidance."""
    unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    latents, words = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)
    with torch.no_grad():
        return seconds(lambda: unet(latents, 10, words), 1, 1)


NAMED = {
    "lpips_weights": "alex.pth",
    "dino_model": "dino",
    "clip_model": "clip_l",
    "pick_score_model": "clip_h",
    "preference_processor": "clip_h",
}


def save_weights(near: Path) -> None:
    """Random weights of the published sizes, in the layouts that the metrics read."""
    ends, state = (2, 5, 8, 10, 12), {}
    for name, tensor in alexnet().features.state_dict().items():
        at = next(i for i, end in enumerate(ends) if int(name.split(".")[0]) < end)
        state[f"net.slice{at + 1}.{name}"] = tensor.clone()
    state |= {f"lin{i}.model.1.weight": torch.rand(1, c, 1, 1) for i, c in enumerate((64, 192, 384, 256, 256))}
    torch.save(state, near / "alex.pth")
    Dinov2Model(Dinov2Config(image_size=224, patch_size=14)).save_pretrained(near / "dino")
    save_clip(near / "clip_l", LARGE, WORDS_L, 768)
    save_clip(near / "clip_h", HUGE, LARGE, 1024)


def save_clip(folder: Path, vision: Mapping[str, int], text: Mapping[str, int], width: int) -> None:
    """A CLIP with a processor beside it, of one token for each word."""
    vocabulary = {word: i for i, word in enumerate([*PROMPT.split(), "<start>", "<end>"])}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<end>", eos_token="<end>").save_pretrained(folder)
    CLIPImageProcessor().save_pretrained(folder)
    image = {**vision, "image_size": 224, "patch_size": 14}
    config = CLIPConfig(text_config={**text, "vocab_size": 49408}, vision_config=image, projection_dim=width)
    CLIPModel(config).save_pretrained(folder)


def page(document: dict) -> str:
    """The results as Markdown."""
    lines = []
    for title, found in (("Embedded family, 32 pixels", "embedded"), ("512 pixels", "large")):
        rows = document[found]
        image = [v for k, v in rows.items() if k.startswith("image")][-1]
        lines += [f"## {title}", "", "| | seconds an image | of the image itself |", "|---|---|---|"]
        lines += [f"| {name} | {value:.3g} | {100 * value / image:.3g} % |" for name, value in rows.items()]
        lines.append("")
    machine = document["environment"]
    return "\n".join(
        [
            "# What a metric costs beside the image",
            "",
            "Processor seconds on one thread; the share is of the last image named. At 512 pixels networks have the",
            "published sizes and random weights: DINOv2 ViT-B/14, CLIP ViT-L/14, and ViT-H/14 for PickScore (HPS v2",
            "is the same network). The image itself is counted from one step of its U-Net, without its VAE.",
            "",
            *lines,
            f"`OMP_NUM_THREADS=1 python benchmarks/metric_cost.py`, {machine['platform']}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
