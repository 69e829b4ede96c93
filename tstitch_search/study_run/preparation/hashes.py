"""Hashes of the files that numbers come from: what metrics look with, extractors, what the members share."""

import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from tstitch_search.config import Study
from tstitch_search.config.models.quality import OF_TRANSFORMERS
from tstitch_search.errors import EnvironmentProblem
from tstitch_search.members.custom import source_of
from tstitch_search.members.pipeline_parts import SHARED_FILES, shared_folders, vae_folder
from tstitch_search.zoo import FASHION_EXTRACTOR, embedded_path

# The networks of the study that metrics look with, and the files that hold weights.
NETWORKS = {
    ("clip_score", "clip_distance"): "clip_model",
    ("dino_distance",): "dino_model",
    ("pick_score",): "pick_score_model",
    ("pick_score", "hps_v2"): "preference_processor",
}
LPIPS_HINT = "torch.save(lpips.LPIPS(net='alex').state_dict(), 'lpips_alex.pth'), with pip install lpips"
WEIGHTS = {
    "lpips": ("lpips_weights", "LPIPS", LPIPS_HINT),
    "hps_v2": ("hps_weights", "HPS v2", "hf download xswu/HPSv2 HPS_v2.1_compressed.pt, where there is a network"),
}


def score_facts(study: Study) -> dict[str, str]:
    """Hashes of the files and modules that values per image and per pair come from."""
    quality = study.config.quality
    facts = {
        f"quality.{m}": hashlib.sha256(source_of(m, f"the metric {m!r}").read_bytes()).hexdigest()
        for m in quality.all_metrics
        if ":" in m
    }
    near = study.study_path.parent
    for metrics, key in NETWORKS.items():
        if set(metrics) & set(quality.all_metrics):
            facts[f"quality.{key}"] = _network(str(getattr(quality, key)), near)
    for metric, (key, label, hint) in WEIGHTS.items():
        if metric in quality.all_metrics:
            weights = near / str(getattr(quality, key))
            if not weights.is_file():
                beside = "without them psnr and ssim still work"
                raise EnvironmentProblem(f"the weights of {label} are not at {weights}; {beside}", hint=hint)
            facts[f"quality.{key}"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    return facts


def _network(name: str, near: Path) -> str:
    """A hub id with its revision, or the hash of the folder's files."""
    folder = near / name
    return hash_files(sorted(f for kind in SHARED_FILES for f in folder.glob(kind))) if folder.is_dir() else name


def extractor_hash(study: Study) -> str:
    """Hash of the extractor's weights where we hold them; torch-fidelity's own are fixed by its version."""
    quality = study.config.quality
    if quality.extractor in OF_TRANSFORMERS:
        return _network(quality.extractor_weights or "its default", study.study_path.parent)
    if quality.extractor_weights:
        path = study.study_path.parent / quality.extractor_weights
    elif quality.extractor == FASHION_EXTRACTOR:
        path = embedded_path("zoo:fashion/features.safetensors")
    elif ":" in quality.extractor:
        path = source_of(quality.extractor, f"the feature extractor {quality.extractor!r}")
    else:
        return f"torch-fidelity {version('torch-fidelity')}"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot read the weights of the extractor {quality.extractor!r} at {path}: {error.strerror}",
            hint="correct quality.extractor_weights",
        ) from error


def pipeline_sha256(study: Study) -> str:
    """The hash of all that the study's members share: VAE, scheduler, text encoders, ControlNet."""
    return _hash_folders(vae_folder(study), *shared_folders(study.space, study.space_path.parent))


def _hash_folders(*folders: Path) -> str:
    """One hash of the files in the folders that are loaded; other number formats of the weights may lie beside them."""
    return hash_files(sorted({file for folder in folders for kind in SHARED_FILES for file in folder.glob(kind)}))


def hash_files(paths: Iterable[Path]) -> str:
    """One hash of names and contents, in this order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
