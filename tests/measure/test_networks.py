"""Metrics that look with large networks: tiny ones of random weights, saved in the layouts that the real ones have."""

from pathlib import Path

import numpy as np
import pytest
import torch
from measure.test_clip_score import folder as clip_folder  # noqa: F401  (a fixture)
from measure.test_clip_score import images
from transformers import CLIPModel, CLIPProcessor, Dinov2Config, Dinov2Model

from tstitch_search.config.models import QualityConfig
from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.measure.clip_score import cosines, load_clip
from tstitch_search.measure.embeddings import IMAGENET, ClipImages, Dino
from tstitch_search.measure.features import count_features, extract, load_extractor
from tstitch_search.measure.pretrained import squared
from tstitch_search.measure.scores import ImageScore, Scores
from tstitch_search.measure.scores.contract import ImageScoreContract
from tstitch_search.measure.scores.embedding_distance import embedding_distance
from tstitch_search.measure.scores.hps_v2 import hps_score
from tstitch_search.measure.scores.pick_score import pick_score
from tstitch_search.measure.scores.temporal import temporal_consistency
from tstitch_search.quality.metrics import METRICS
from tstitch_search.quality.reference import Reference

CPU = torch.device("cpu")
PROMPTS = ["a cat", "a red", "dog", "green"]


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28, "patch_size": 14}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Dinov2Model(Dinov2Config(**sizes)).save_pretrained(found := tmp_path_factory.mktemp("dino") / "tiny")
    return found


@pytest.fixture(params=["dino", "clip"])
def embed(request: pytest.FixtureRequest, dino_folder: Path, clip_folder: Path):  # noqa: F811
    return Dino(str(dino_folder), Path(), CPU) if request.param == "dino" else ClipImages(str(clip_folder), Path(), CPU)


def test_embeddings_are_those_of_the_whole_models(dino_folder: Path, clip_folder: Path) -> None:  # noqa: F811
    x = images(3)
    model = Dinov2Model.from_pretrained(dino_folder)
    with torch.no_grad():
        expected = model(squared(x, 224, *IMAGENET)).pooler_output
        assert torch.allclose(Dino(str(dino_folder), Path(), CPU)(x), expected, atol=1e-6)
        processor, model = CLIPProcessor.from_pretrained(clip_folder), CLIPModel.from_pretrained(clip_folder)
        found = model.get_image_features(**processor(images=list(x), return_tensors="pt"))
        expected = torch.nn.functional.normalize(getattr(found, "pooler_output", found))
        cosine = (ClipImages(str(clip_folder), Path(), CPU)(x) * expected).sum(dim=1)
    assert cosine.min() > 0.98  # resized by another library, which rounds to bytes between


class TestPairContract:
    def test_equal_images_have_no_distance_and_both_directions_are_alike(self, embed) -> None:
        distance, x, y = embedding_distance(embed), images(4), images(4).flip(0)
        assert distance(x, x).tolist() == pytest.approx([0] * 4, abs=1e-6)
        assert distance(x, y).tolist() == pytest.approx(distance(y, x).tolist(), abs=1e-6)
        assert (distance(x, y) > 0).all()

    def test_an_image_has_the_value_that_it_has_alone(self, embed) -> None:
        distance, x, y = embedding_distance(embed), images(4), images(4).flip(0)
        alone = torch.cat([distance(x[i : i + 1], y[i : i + 1]) for i in range(4)])
        assert distance(x, y).tolist() == pytest.approx(alone.tolist(), abs=1e-5)


class TestPickScore(ImageScoreContract):
    @pytest.fixture(autouse=True)
    def _weights(self, clip_folder: Path) -> None:  # noqa: F811
        self.folder = str(clip_folder)

    def score(self) -> ImageScore:
        return pick_score(self.folder, self.folder, Path(), CPU)


def test_a_metric_that_sees_nothing_breaks_the_contract() -> None:
    class Blind(ImageScoreContract):
        def score(self) -> ImageScore:
            return lambda images, prompts: torch.ones(len(images))

    with pytest.raises(AssertionError):
        Blind().test_images_are_told_apart()


def test_pick_score_is_the_scaled_cosine(clip_folder: Path) -> None:  # noqa: F811
    clip = load_clip(str(clip_folder), Path(), CPU)
    with torch.no_grad():
        found = pick_score(str(clip_folder), str(clip_folder), Path(), CPU)(images(4), PROMPTS)
        inputs = clip.processor(images=list(images(4)), text=PROMPTS, return_tensors="pt", padding=True)
        expected = clip.model(**inputs).logits_per_image.diagonal()
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def in_open_clips_layout(model: CLIPModel) -> dict[str, torch.Tensor]:
    """The weights as open_clip names and shapes them, written down apart from our reader."""
    state, found = model.state_dict(), {}
    for ours, theirs in (("text_model", ""), ("vision_model", "visual.")):
        n_layers = 1 + max(int(name.split(".")[3]) for name in state if name.startswith(f"{ours}.encoder.layers."))
        for i in range(n_layers):
            layer, block = f"{ours}.encoder.layers.{i}", f"{theirs}transformer.resblocks.{i}"
            for part in ("weight", "bias"):
                parts = [state[f"{layer}.self_attn.{p}_proj.{part}"] for p in "qkv"]
                found[f"{block}.attn.in_proj_{part}"] = torch.cat(parts)
                found[f"{block}.attn.out_proj.{part}"] = state[f"{layer}.self_attn.out_proj.{part}"]
                found[f"{block}.ln_1.{part}"] = state[f"{layer}.layer_norm1.{part}"]
                found[f"{block}.ln_2.{part}"] = state[f"{layer}.layer_norm2.{part}"]
                found[f"{block}.mlp.c_fc.{part}"] = state[f"{layer}.mlp.fc1.{part}"]
                found[f"{block}.mlp.c_proj.{part}"] = state[f"{layer}.mlp.fc2.{part}"]
    for part in ("weight", "bias"):
        found[f"ln_final.{part}"] = state[f"text_model.final_layer_norm.{part}"]
        found[f"visual.ln_pre.{part}"] = state[f"vision_model.pre_layrnorm.{part}"]
        found[f"visual.ln_post.{part}"] = state[f"vision_model.post_layernorm.{part}"]
    return found | {
        "logit_scale": state["logit_scale"],
        "text_projection": state["text_projection.weight"].T.contiguous(),
        "visual.proj": state["visual_projection.weight"].T.contiguous(),
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
    }


def test_weights_of_hps_v2_become_the_model_that_they_are(
    clip_folder: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    model = CLIPModel.from_pretrained(clip_folder)
    model.config.text_config.hidden_act = model.config.vision_config.hidden_act = "gelu"
    model.save_pretrained(tmp_path / "gelu")
    torch.save({"epoch": 1, "state_dict": in_open_clips_layout(model)}, tmp_path / "hps.pt")
    for file in clip_folder.iterdir():
        if "model" not in file.name and file.name != "config.json":
            (tmp_path / "gelu" / file.name).write_bytes(file.read_bytes())
    score = hps_score(tmp_path / "hps.pt", str(clip_folder), Path(), CPU, n_heads=2)
    expected = cosines(load_clip(str(tmp_path / "gelu"), Path(), CPU), images(4), PROMPTS)
    assert score(images(4), PROMPTS).tolist() == pytest.approx(expected.tolist(), abs=1e-5)


def test_what_is_missing_is_named_with_how_to_get_it_and_what_works_without(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(1)}, tmp_path / "foreign.pt")
    missing = [
        lambda: Dino("no such/dino", tmp_path, CPU),
        lambda: ClipImages("no such/clip", tmp_path, CPU),
        lambda: hps_score(tmp_path / "none.pt", "p", tmp_path, CPU),
        lambda: hps_score(tmp_path / "foreign.pt", "p", tmp_path, CPU),
    ]
    for load, name in zip(missing, ("no such/dino", "no such/clip", "none.pt", "foreign.pt"), strict=True):
        with pytest.raises(EnvironmentProblem, match=name) as error:
            load()
        assert "hf download" in error.value.hint
        assert "psnr" in error.value.hint


@pytest.mark.parametrize(("name", "d"), [("dinov2", 16), ("clip", 8)])
def test_an_extractor_of_transformers_gives_what_its_metric_needs(
    name: str,
    d: int,
    dino_folder: Path,
    clip_folder: Path,  # noqa: F811
) -> None:
    extractor = load_extractor(name, {"dinov2": dino_folder, "clip": clip_folder}[name], CPU)
    assert count_features(extractor) == d
    of_images = extract(extractor, images(24))["features"]
    metric = METRICS[{"dinov2": "fd_dinov2", "clip": "cmmd"}[name]].bind(Reference.of_features(of_images[12:]))
    assert metric(of_images[:12]) > 0
    assert metric(of_images[12:]) == pytest.approx(0, abs=1e-6)


def test_cmmd_is_the_mean_over_all_pairs_of_a_gaussian_kernel() -> None:
    rng = np.random.default_rng(0)
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 30, 8)))

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.mean([[np.exp(-((p - q) ** 2).sum() / 200) for q in b] for p in a]))

    expected = 1000 * (mean(x, x) + mean(y, y) - 2 * mean(x, y))
    assert METRICS["cmmd"].bind(Reference.of_features(y))(x) == pytest.approx(expected, rel=1e-6)


def test_a_metric_that_looks_otherwise_than_the_extractor_is_refused() -> None:
    with pytest.raises(ValueError, match="fd_dinov2 looks with dinov2, and the extractor is 'inception-v3-compat'"):
        QualityConfig(objective="fd_dinov2", reference="x")
    with pytest.raises(ValueError, match="hps_weights is missing"):
        QualityConfig(objective="hps_v2")


def test_clips_are_compared_by_how_neighbouring_frames_differ() -> None:
    still, seed = torch.full((2, 4, 3, 8, 8), 100, dtype=torch.uint8), torch.Generator().manual_seed(0)
    flicker = still.clone()
    flicker[:, 1::2] += 51
    moving = torch.randint(0, 256, still.shape, dtype=torch.uint8, generator=seed)
    assert temporal_consistency(moving, moving).tolist() == [0, 0]
    assert temporal_consistency(flicker, still).tolist() == pytest.approx([0.2, 0.2])
    assert temporal_consistency(still, flicker).tolist() == pytest.approx([0.2, 0.2])
    of_frames = Scores.load(QualityConfig(objective="temporal_consistency", metrics=("psnr",)), Path(), CPU)
    values = of_frames.of(flicker.flatten(0, 1), [""] * 8, still.flatten(0, 1), n_frames=4)
    assert values["temporal_consistency"].reshape(2, 4).mean(axis=1).tolist() == pytest.approx([0.2, 0.2])
    with pytest.raises(ConfigError, match="the images are stills"):
        of_frames.of(flicker[:, 0], [""] * 2, still[:, 0])
