"""Whatever a download left in the place of a file is named as what it is, by everything that reads users' files."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tstitch_search.config import load_space, load_study
from tstitch_search.config.rivals import read_rivals
from tstitch_search.errors import TStitchError
from tstitch_search.lookup import LookupTable
from tstitch_search.measure.features import load_extractor
from tstitch_search.members.formats.checkpoints import read_checkpoint
from tstitch_search.members.headers import count_parameters
from tstitch_search.members.weights import read_json
from tstitch_search.quality.reference import read_statistics
from tstitch_search.real_images import npz_images, read_image

STAND_INS = [
    pytest.param(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "a Git LFS pointer", id="lfs"
    ),
    pytest.param(b"\xef\xbb\xbf\n<!DOCTYPE HTML><html><body>Sign in</body></html>", "a web page", id="page"),
    pytest.param(b"<HTML><head></head></HTML>", "a web page", id="old page"),
    pytest.param(b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document", id="xml"),
    pytest.param(b"", "empty", id="empty"),
]
CPU = torch.device("cpu")
READERS: dict[str, Callable[[Path], object]] = {
    "diffusion_pytorch_model.safetensors": lambda path: count_parameters(path.parent, "it", required=True),
    "DiT-S.pt": lambda path: read_checkpoint(path, "dit"),
    "model.ckpt": lambda path: read_checkpoint(path, "ldm"),
    "config.json": lambda path: read_json(path, "it"),
    "lookup.json": LookupTable.read,
    "rivals.csv": read_rivals,
    "reference.npz": lambda path: read_statistics(path, ""),
    "images.npz": lambda path: npz_images(path, 32),
    "cat.png": lambda path: read_image(path, 32),
    "inception.pth": lambda path: load_extractor("inception-v3-compat", path, CPU),
    "features.safetensors": lambda path: load_extractor("fashion-cnn", path, CPU),
    "study.yaml": load_study,
    "space.yaml": load_space,
}


@pytest.mark.parametrize(("content", "what"), STAND_INS)
@pytest.mark.parametrize("name", READERS)
def test_what_is_there_instead_is_named_with_the_file(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TStitchError) as refused:
        READERS[name](path)
    expected = "the file holds nothing" if path.suffix == ".yaml" and not content else f"is {what}"
    assert expected in refused.value.message
    assert name in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("name", [name for name in READERS if not name.endswith((".yaml", ".csv"))])
def test_a_file_that_begins_well_and_ends_early_is_refused_in_words(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes({".json": b'{"a": [1,', ".png": b"\x89PNG\r\n\x1a\n\0\0"}.get(path.suffix, b"PK\x03\x04\x14\0\0"))
    with pytest.raises(TStitchError) as refused:
        READERS[name](path)
    assert name in refused.value.message
    assert refused.value.hint
