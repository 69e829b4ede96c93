"""Images that were not sampled: what is read, and every kind of file that is refused with its name."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tstitch_search.errors import ConfigError, EnvironmentProblem
from tstitch_search.real_images import ImageFiles, list_images, npz_images, read_image

R = 8
RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, R, R, 3), dtype=np.uint8)


def save_folder(folder: Path, pixels: np.ndarray = PIXELS) -> ImageFiles:
    folder.mkdir(exist_ok=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    return ImageFiles(folder, list_images(folder), R)


def test_a_folder_is_read_in_the_order_of_its_names_bit_by_bit_in_parts_of_any_size(tmp_path: Path) -> None:
    files = save_folder(tmp_path / "real")
    for size in (1, 7, 100):
        assert np.array_equal(np.concatenate(list(files.batches(size))), PIXELS)
    assert np.array_equal(np.concatenate(list(files.part(3, 9).part(1, 100).batches(4))), PIXELS[4:9])


def test_an_array_is_read_in_parts_of_any_size(tmp_path: Path) -> None:
    for save, name in ((np.savez, "stored.npz"), (np.savez_compressed, "packed.npz")):
        save(tmp_path / name, mu=np.zeros(3), arr_0=PIXELS)
        images = npz_images(tmp_path / name, R)
        assert images is not None
        assert images.n_images == 20
        for size in (1, 7, 100):
            assert np.array_equal(np.concatenate(list(images.batches(size))), PIXELS)
        assert np.array_equal(np.concatenate(list(images.part(3, 9).part(1, 100).batches(4))), PIXELS[4:9])


def test_an_archive_without_the_array_has_no_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", mu=np.zeros(3))
    assert npz_images(tmp_path / "x.npz", R) is None


def test_the_hash_is_of_names_and_bytes(tmp_path: Path) -> None:
    first = save_folder(tmp_path / "a").sha256()
    assert save_folder(tmp_path / "b").sha256() == first
    (tmp_path / "b" / "000.png").rename(tmp_path / "b" / "000b.png")
    assert ImageFiles(tmp_path / "b", list_images(tmp_path / "b"), R).sha256() != first
    Image.fromarray(PIXELS[1]).save(tmp_path / "a" / "000.png")
    assert save_folder(tmp_path / "a", PIXELS[[1]]).sha256() != first


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "webp", "bmp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_colour_grey_palette_and_bits_become_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"x.{suffix}"
    mode = "L" if mode == "P" and suffix in ("jpg", "jpeg") else mode  # JPEG has no palettes
    Image.new("RGB", (R, R), (255, 255, 255)).convert(mode).save(path)
    found = read_image(path, R)
    assert (found.shape, found.dtype) == ((R, R, 3), np.uint8)
    assert (found >= 254).all()
    assert list_images(tmp_path) == (f"x.{suffix}",)


def saved(image: Image.Image, **how: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, **{"format": "png", **how})
    return stream.getvalue()


COLOUR = Image.fromarray(np.asarray(RNG.integers(0, 256, (R, R, 3)), dtype=np.uint8))
HEADER_FAULTS = {
    "no image": (b"these are no pixels", "is not a readable image: no image format is recognised"),
    "empty": (b"", "is empty"),
    "other size": (saved(Image.new("RGB", (R + 1, R))), "is 9 x 8 pixels, the study's images are 8 x 8"),
    "alpha": (saved(COLOUR.convert("RGBA")), "has an alpha channel"),
    "grey alpha": (saved(COLOUR.convert("LA")), "has an alpha channel"),
    "transparent colour": (saved(COLOUR, transparency=(1, 2, 3)), "has an alpha channel"),
    "sixteen bits": (saved(Image.new("I;16", (R, R))), "is of Pillow's mode I;16, expected RGB or grey"),
    "printers' colours": (saved(COLOUR.convert("CMYK"), format="jpeg"), "is of Pillow's mode CMYK"),
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_a_wrong_header_is_found_by_hashing_already_and_the_file_is_named(tmp_path: Path, fault: str) -> None:
    content, message = HEADER_FAULTS[fault]
    files = save_folder(tmp_path / "real")
    (tmp_path / "real" / "007.png").write_bytes(content)
    looks: list[Callable[[], object]] = [files.sha256, lambda: list(files.batches(5))]
    for look in looks:
        with pytest.raises(ConfigError, match=message) as caught:
            look()
        assert str(tmp_path / "real" / "007.png") in caught.value.message
        assert caught.value.hint


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "bmp"])
def test_a_truncated_image_is_named_when_it_is_decoded(tmp_path: Path, suffix: str) -> None:
    pixels = Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8))
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(saved(pixels, format=suffix)[:-1000])
    with pytest.raises(ConfigError, match=rf"cut.{suffix} is not a readable image: ") as caught:
        read_image(path, 64)
    assert "remove it" in caught.value.hint


def test_another_size_is_refused_saying_that_nothing_is_resized(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    with pytest.raises(ConfigError) as caught:
        read_image(tmp_path / "x.png", R)
    assert "nothing is resized here" in caught.value.hint


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ConfigError, match="holds no images") as caught:
        list_images(tmp_path)
    assert ".webp" in caught.value.hint


def test_an_image_that_disappears_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match=r"cannot read .*gone\.png"):
        read_image(tmp_path / "gone.png", R)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PIXELS.astype(np.float32), r"arr_0 is float32 \(20, 8, 8, 3\), expected uint8 \(n, h, w, 3\)"),
        (PIXELS[..., 0], r"uint8 \(20, 8, 8\), expected"),
        (PIXELS[..., :1], r"uint8 \(20, 8, 8, 1\), expected"),
        (PIXELS[:0], r"uint8 \(0, 8, 8, 3\), expected"),
        (PIXELS[:, :, :5], "is 5 x 8 pixels, the study's images are 8 x 8"),
        (np.asfortranarray(PIXELS), "in C order"),
    ],
)
def test_an_array_of_something_else_is_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "x.npz", arr_0=array)
    with pytest.raises(ConfigError, match=message) as caught:
        npz_images(tmp_path / "x.npz", R)
    assert caught.value.hint


def test_a_damaged_array_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, arr_0=np.zeros((500, R, R, 3), dtype=np.uint8) + PIXELS[0])
    images = npz_images(path, R)
    assert images is not None
    content = bytearray(path.read_bytes())
    content[300:340] = b"\xff" * 40
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.npz: arr_0 cannot be read"):
        list(images.batches(100))
