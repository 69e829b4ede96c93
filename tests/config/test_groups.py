"""Groups of images: where they come from, and what is refused because nothing could be said."""

from pathlib import Path
from typing import Any

import pytest

from tstitch_search.config import load_study
from tstitch_search.config.models import ProxyFiles, ProxySetConfig
from tstitch_search.config.proxy_files import read_proxy_files
from tstitch_search.errors import ConfigError
from tstitch_search.measurement import Chunk
from tstitch_search.sampling.conditions import ProxySet

N_SEARCH, N_CONFIRM = 10, 40
TOPICS = ("cats", "dogs")


def read(folder: Path, **config: Any) -> ProxyFiles:
    return read_proxy_files(ProxySetConfig(**config), 10, N_SEARCH, N_CONFIRM, folder)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [f"prompt {i},{TOPICS[i % 2]},photo,{i}\n" for i in range(N_SEARCH + N_CONFIRM)]
    (tmp_path / "p.csv").write_text("prompt,category,style,number\n" + "".join(rows))
    (tmp_path / "p.txt").write_text("a\n" * 50)
    (tmp_path / "labels").write_text("".join(f"{3 + i % 2}\n" for i in range(50)))
    (tmp_path / "same").write_text("7\n" * 50)
    return tmp_path


def test_a_column_of_the_prompts_names_the_group_of_each_image(prompts: Path) -> None:
    files = read(prompts, prompts="p.csv", groups={"column": "Categories"})
    images = ProxySet(0, "balanced", 1000, files=files)
    assert images.groups_of(Chunk("search", 0, 4)) == ["cats", "dogs", "cats", "dogs"]
    assert images.groups_of(Chunk("confirm", 1, 3)) == ["dogs", "cats"]


def test_without_prompts_it_is_the_class_label(prompts: Path) -> None:
    files = read(prompts, labels="labels", groups={"column": "label"})
    assert ProxySet(0, "labels", 10, files=files).groups_of(Chunk("confirm", 0, 3)) == ["3", "4", "3"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            {"prompts": "p.csv", "groups": {"column": "categry"}},
            "`categry` of proxy_set.groups; did you mean `category`",
        ),
        ({"prompts": "p.csv", "groups": {"column": "xyz"}}, "`xyz` of .*found prompt, category, style, number"),
        ({"prompts": "p.txt", "groups": {"column": "category"}}, "a .txt has no columns"),
        ({"prompts": "p.csv", "groups": {"column": "style"}}, "^groups: 'style' is the same for all"),
        ({"prompts": "p.csv", "groups": {"column": "number"}}, "^groups: 'number' makes 40 groups of 40 .* at most 4"),
        ({"groups": {"column": "category"}}, "^groups: .*there are no proxy_set.prompts"),
        ({"groups": {"column": "label"}}, "^groups: 'label' makes 10 groups of 40 images"),
        ({"labels": "same", "groups": {"column": "label"}}, "^groups: 'label' is the same for all"),
    ],
)
def test_groups_that_could_tell_nothing_are_refused_before_anything_runs(
    prompts: Path, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        read(prompts, **config)
    assert caught.value.hint


def test_a_record_has_no_images_to_group() -> None:
    path = Path(__file__).parent.parent.parent / "studies" / "recorded" / "dit_s_xl.yaml"
    with pytest.raises(ConfigError, match=r"proxy_set\.groups are of images"):
        load_study(path, ["proxy_set.groups={column: label}"])
