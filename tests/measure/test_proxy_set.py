"""Which images: everything about image i follows from (seed, set name, i) alone."""

from collections import Counter

import pytest
import torch

from tstitch_search.measure.proxy_set import ProxySet
from tstitch_search.measurement import Chunk, SetName


def noise(proxy_set: ProxySet, set_name: SetName, first: int, last: int) -> torch.Tensor:
    """The first normal numbers of each image: (n, 8)."""
    generators = proxy_set.generators_of(Chunk(set_name, first, last))
    return torch.stack([torch.randn(8, generator=generator) for generator in generators])


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
    seeds = [generator.initial_seed() for generator in proxy_set.generators_of(Chunk("search", 0, 2))]
    assert seeds == [2635072618980576772, 14898058564793133489]
    assert proxy_set.labels_of(Chunk("search", 0, 10)) == [4, 9, 8, 7, 5, 3, 0, 1, 2, 6]
    assert ProxySet(0, "random", 10).labels_of(Chunk("confirm", 0, 10)) == [4, 4, 6, 5, 0, 8, 4, 5, 4, 7]
