"""CLIP scores of a tiny CLIP with random weights, against a second way to compute them."""

import json
import string
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from tstitch_search.errors import EnvironmentProblem, MeasurementError
from tstitch_search.measure.clip_score import Clip, clip_scores, load_clip

CPU = torch.device("cpu")
START, END = "<|startoftext|>", "<|endoftext|>"
N_TOKENS = 12
PROMPTS = ["a cat", "a red car in the rain", "dog", "a green field"]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per letter, between a start and an end token."""
    vocabulary = {token: i for i, token in enumerate([*string.ascii_lowercase, "?", START, END])}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    ends = [(token, vocabulary[token]) for token in (START, END)]
    letters.post_processor = processors.TemplateProcessing(single=f"{START} $A {END}", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=letters, bos_token=START, eos_token=END, pad_token=END, unk_token="?"
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of random weights as save_pretrained leaves it; do not change it."""
    folder = tmp_path_factory.mktemp("clip") / "tiny"
    words = tokenizer()
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {"vocab_size": len(words), "max_position_embeddings": N_TOKENS, "eos_token_id": words.eos_token_id}
    config = CLIPConfig(
        text_config={**sizes, **text, "bos_token_id": words.bos_token_id, "pad_token_id": words.eos_token_id},
        vision_config={**sizes, "image_size": 16, "patch_size": 4},
        projection_dim=8,
        initializer_factor=5.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLIPModel(config).save_pretrained(folder)
    words.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(folder: Path) -> Clip:
    return load_clip(folder.name, folder.parent, CPU)


def images(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 24, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def second_way(folder: Path, images: torch.Tensor, prompts: list[str]) -> list[float]:
    """One image and one prompt at a time, from the two encoders apart, with cosines by hand."""
    model = CLIPModel.from_pretrained(folder)
    words, pixels = PreTrainedTokenizerFast.from_pretrained(folder), CLIPImageProcessor.from_pretrained(folder)
    scores = []
    for image, prompt in zip(images, prompts, strict=True):
        ids = [words.bos_token_id, *words(prompt, add_special_tokens=False).input_ids][: N_TOKENS - 1]
        as_array = image.permute(1, 2, 0).numpy()
        with torch.no_grad():
            of_text = model.get_text_features(torch.tensor([[*ids, words.eos_token_id]]))
            of_image = model.get_image_features(**pixels(as_array, return_tensors="pt"))
        a, b = (getattr(f, "pooler_output", f)[0].double().numpy() for f in (of_text, of_image))
        scores.append(100 * max(0.0, float(a @ b / np.sqrt((a @ a) * (b @ b)))))
    return scores


def test_scores_are_those_of_the_two_encoders_apart(clip: Clip, folder: Path) -> None:
    prompts = [prompt for prompt in PROMPTS for _ in range(8)]
    scores = clip_scores(clip, images(32), prompts)
    assert (scores.shape, scores.dtype) == ((32,), np.float32)
    np.testing.assert_allclose(scores, second_way(folder, images(32), prompts), rtol=1e-4, atol=1e-3)
    assert len(np.unique(scores)) > 8  # or the agreement would be empty


def test_no_score_is_negative(clip: Clip) -> None:
    prompts = [prompt for prompt in PROMPTS for _ in range(8)]
    scores = clip_scores(clip, images(32), prompts)
    assert scores.min() == 0
    assert 0 < scores.max() <= 100


def test_the_score_of_an_image_does_not_depend_on_its_batch(clip: Clip) -> None:
    together = clip_scores(clip, images(4), PROMPTS)
    alone = [clip_scores(clip, images(4)[i : i + 1], PROMPTS[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-3)


def test_a_long_prompt_is_read_as_far_as_the_model_reads(clip: Clip) -> None:
    cut = "a" * (N_TOKENS - 2)
    assert clip_scores(clip, images(1), [cut + "bcd"]) == pytest.approx(clip_scores(clip, images(1), [cut]))


def test_every_image_needs_a_prompt(clip: Clip) -> None:
    with pytest.raises(ValueError, match="2 images against 1 prompts"):
        clip_scores(clip, images(2), ["a cat"])


def test_a_missing_model_is_named_with_its_path_and_hub_id(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        load_clip("nobody/has this clip", tmp_path, CPU)
    assert f"'nobody/has this clip' can be loaded neither from the folder {tmp_path}/nobody/" in caught.value.message
    assert "nor from the hub" in caught.value.message
    assert "hf download nobody/has this clip" in caught.value.hint


def copy_with_weights(folder: Path, to: Path, weights: dict[str, torch.Tensor]) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


def test_weights_of_something_else_are_refused_instead_of_invented(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    copy_with_weights(folder, tmp_path / "half", weights)
    with pytest.raises(EnvironmentProblem, match=r"'half' has no weights for text_projection.weight and 0 others"):
        load_clip("half", tmp_path, CPU)
    (tmp_path / "half" / "config.json").write_text(json.dumps({"model_type": "clip"})[:-4])
    with pytest.raises(EnvironmentProblem, match=r"'half' can be loaded neither from the folder .*half"):
        load_clip("half", tmp_path, CPU)


def test_scores_that_are_not_finite_are_a_measurement_error(folder: Path, tmp_path: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"][0, 0] = torch.nan
    clip = load_clip("bad", copy_with_weights(folder, tmp_path / "bad", weights).parent, CPU)
    with pytest.raises(MeasurementError, match="'bad' gives scores that are not finite"):
        clip_scores(clip, images(1), ["a cat"])
