"""Which images: everything about image i follows from (seed, set name, i) alone."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.config.models import ProxyFiles
from tstitch_search.measurement import Chunk, SetName
from tstitch_search.sampling.conditions import Condition, ProxySet


def noise(proxy_set: ProxySet, set_name: SetName, first: int, last: int) -> torch.Tensor:
    """The first normal numbers of each image: (n, 8)."""
    seeds = proxy_set.seeds_of(Chunk(set_name, first, last))
    return torch.stack([torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


@pytest.mark.parametrize("labels", ["balanced", "random"])
def test_an_image_is_the_same_whatever_chunk_it_is_in(labels: str) -> None:
    proxy_set = ProxySet(3, labels, 10)
    whole_labels, whole_noise = proxy_set.labels_of(Chunk("search", 0, 30)), noise(proxy_set, "search", 0, 30)
    for first, last in ((0, 7), (7, 30), (12, 13)):
        assert proxy_set.labels_of(Chunk("search", first, last)) == whole_labels[first:last]
        assert torch.equal(noise(proxy_set, "search", first, last), whole_noise[first:last])


def test_no_two_images_share_their_noise_across_images_sets_and_seeds() -> None:
    rows = [noise(ProxySet(seed, "balanced", 10), name, 0, 50) for seed in (0, 1) for name in ("search", "confirm")]
    assert len(torch.unique(torch.cat(rows), dim=0)) == 200


def test_balanced_labels_hold_each_class_once_in_every_run_of_n_classes() -> None:
    labels = ProxySet(0, "balanced", 10).labels_of(Chunk("search", 0, 100))
    assert all(sorted(labels[i : i + 10]) == list(range(10)) for i in range(91))


def test_balanced_labels_come_in_an_order_of_the_seed_and_the_set() -> None:
    orders = {
        tuple(ProxySet(seed, "balanced", 10).labels_of(Chunk(name, 0, 10)))
        for seed in range(5)
        for name in ("search", "confirm")
    }
    assert len(orders) == 10


def test_random_labels_are_of_all_classes_and_not_balanced() -> None:
    counts = Counter(ProxySet(0, "random", 10).labels_of(Chunk("search", 0, 1000)))
    assert set(counts) == set(range(10))
    assert len(set(counts.values())) > 1
    assert all(60 <= n <= 140 for n in counts.values())


def test_seeds_do_not_change_between_versions() -> None:
    """Recorded studies are resumed by later versions: these very numbers must stay."""
    proxy_set = ProxySet(0, "balanced", 10)
    assert proxy_set.seeds_of(Chunk("search", 0, 2)) == [2635072618980576772, 14898058564793133489]
    assert proxy_set.labels_of(Chunk("search", 0, 10)) == [4, 9, 8, 7, 5, 3, 0, 1, 2, 6]
    assert ProxySet(0, "random", 10).labels_of(Chunk("confirm", 0, 10)) == [4, 4, 6, 5, 0, 8, 4, 5, 4, 7]


def from_files(n_search: int, n_confirm: int) -> ProxySet:
    """A set whose label, prompt and control image i are all called i."""
    n = n_search + n_confirm
    files = ProxyFiles(
        n_search=n_search,
        labels=tuple(range(n)),
        prompts=tuple(map(str, range(n))),
        control_images=tuple(Path(str(i)) for i in range(n)),
    )
    return ProxySet(0, "labels.txt", n, "blurred", files)


@given(st.integers(1, 50), st.integers(1, 50), st.data())
def test_entry_i_of_a_file_is_for_image_i_and_the_confirmation_set_follows_the_search(
    n_search: int, n_confirm: int, data: st.DataObject
) -> None:
    proxy_set = from_files(n_search, n_confirm)
    for name, begins, n in (("search", 0, n_search), ("confirm", n_search, n_confirm)):
        first = data.draw(st.integers(0, n - 1))
        found = proxy_set.conditions_of(Chunk(name, first, n))
        expected = range(begins + first, begins + n)
        assert found == [Condition(i, str(i), "blurred", Path(str(i))) for i in expected]
        assert proxy_set.labels_of(Chunk(name, first, n)) == list(expected)


def test_a_batch_beyond_its_set_stays_in_it() -> None:
    proxy_set = from_files(3, 2)
    assert proxy_set.labels_of(Chunk("search", 0, 7)) == [0, 1, 2, 0, 1, 2, 0]
    assert proxy_set.labels_of(Chunk("confirm", 1, 4)) == [4, 3, 4]


@settings(max_examples=20)
@given(st.integers(0, 2**53), st.sampled_from(["balanced", "random"]))
def test_a_smaller_set_is_the_beginning_of_a_larger_one_and_the_two_sets_share_no_seed(seed: int, labels: str) -> None:
    proxy_set = ProxySet(seed, labels, 10)
    large, small = Chunk("search", 0, 1000), Chunk("search", 0, 500)
    assert proxy_set.conditions_of(small) == proxy_set.conditions_of(large)[:500]
    assert proxy_set.seeds_of(small) == proxy_set.seeds_of(large)[:500]
    assert len({*proxy_set.seeds_of(large), *proxy_set.seeds_of(Chunk("confirm", 0, 1000))}) == 2000


def test_without_files_an_image_has_a_label_only() -> None:
    assert ProxySet(0, "balanced", 10).conditions_of(Chunk("search", 0, 1)) == [Condition(4)]


def test_which_images_are_made_is_known_without_torch() -> None:
    script = "import sys, tstitch_search.sampling.conditions; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
