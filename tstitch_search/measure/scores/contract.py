"""What every metric per pair, per image or per set must keep, as test classes for metrics of your own.

    from tstitch_search.measure.scores.contract import PairScoreContract

    class TestDarkness(PairScoreContract):
        higher_is_better = False
        def score(self): return Darkness(torch.device("cpu"))

`metric_named("module:Class")` is the metric of `SetMetricContract`. pytest runs what is inherited; nothing here
imports it.
"""

from dataclasses import replace

import numpy as np
import torch

from tstitch_search.errors import ConfigError
from tstitch_search.measure.scores import ImageScore, PairScore
from tstitch_search.quality.jackknife import Statistic, jackknifed
from tstitch_search.quality.metrics.metric import Metric
from tstitch_search.quality.reference import Reference


def pictures(size: int, n: int = 4, seed: int = 0) -> torch.Tensor:
    """Smooth pictures, uint8 (n, 3, size, size)."""
    noise = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, (size, size), mode="bicubic")
    return (smooth * 40 + 128).clamp(0, 255).to(torch.uint8)


class ImageScoreContract:
    """Inherit, and say what `score()` is. `size`: of the square images it looks at; `prompts`: of the four of them."""

    size: int = 64
    prompts: tuple[str, ...] = ("a cat", "a red car in the rain", "a dog", "a green field")

    def score(self) -> ImageScore:
        """The metric to test."""
        raise NotImplementedError

    def values(self, images: torch.Tensor, prompts: tuple[str, ...]) -> torch.Tensor:
        """What it answers, (n,)."""
        return torch.as_tensor(self.score()(images, prompts)).double()

    def test_one_finite_value_comes_back_for_each_image(self) -> None:
        values = self.values(pictures(self.size), self.prompts)
        assert values.shape == (4,)
        assert torch.isfinite(values).all()

    def test_an_image_has_the_value_that_it_has_alone(self) -> None:
        x = pictures(self.size)
        alone = torch.cat([self.values(x[i : i + 1], self.prompts[i : i + 1]) for i in range(4)])
        assert torch.allclose(self.values(x, self.prompts), alone, rtol=1e-4, atol=1e-5)

    def test_images_are_told_apart(self) -> None:
        x = pictures(self.size)
        values = self.values(x, (self.prompts[0],) * 4)
        assert len(set(values.tolist())) > 1

    def test_constant_images_have_a_finite_value(self) -> None:
        black = torch.zeros(2, 3, self.size, self.size, dtype=torch.uint8)
        assert torch.isfinite(self.values(black, self.prompts[:2])).all()


class PairScoreContract:
    """Inherit, and say what `score()` is. `size`: of the square images it looks at; `higher_is_better`: its direction.

    `best`: the value of equal images, None if any is right. `symmetric`: whether both directions must be alike.
    """

    size: int = 64
    higher_is_better: bool = False
    best: float | None = 0.0
    symmetric: bool = True

    def score(self) -> PairScore:
        """The metric to test."""
        raise NotImplementedError

    def images(self, seed: int = 0, n: int = 4) -> torch.Tensor:
        """Smooth pictures, uint8 (n, 3, size, size)."""
        return pictures(self.size, n, seed)

    def disturbed(self, by: float) -> torch.Tensor:
        """The same pictures with noise of `by` levels."""
        images = self.images().float()
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
        return (images + by * noise).clamp(0, 255).to(torch.uint8)

    def test_one_finite_value_comes_back_for_each_image(self) -> None:
        values = self.score()(self.disturbed(20), self.images())
        assert values.shape == (4,)
        assert torch.isfinite(values).all()

    def test_equal_images_have_the_best_value(self) -> None:
        values = self.score()(self.images(), self.images())
        worse = self.score()(self.disturbed(40), self.images())
        assert self.best is None or torch.allclose(values.double(), torch.full((4,), self.best).double(), atol=1e-5)
        assert ((values > worse) if self.higher_is_better else (values < worse)).all()

    def test_more_noise_is_worse_for_every_image(self) -> None:
        a_little, more = (self.score()(self.disturbed(by), self.images()) for by in (5, 40))
        assert ((a_little > more) if self.higher_is_better else (a_little < more)).all()

    def test_an_image_has_the_value_that_it_has_alone(self) -> None:
        score, x, y = self.score(), self.disturbed(20), self.images()
        alone = torch.cat([score(x[i : i + 1], y[i : i + 1]) for i in range(4)])
        assert torch.allclose(score(x, y), alone, rtol=1e-4, atol=1e-5)

    def test_both_directions_are_alike(self) -> None:
        x, y = self.disturbed(20), self.images()
        assert not self.symmetric or torch.allclose(self.score()(x, y), self.score()(y, x), rtol=1e-4, atol=1e-5)

    def test_constant_images_have_a_finite_value(self) -> None:
        black = torch.zeros(2, 3, self.size, self.size, dtype=torch.uint8)
        assert torch.isfinite(self.score()(black, self.images(n=2))).all()


class SetMetricContract:
    """Inherit, and say what `metric()` is. `n_features`: of an image; override `good` and `worse` for another array."""

    n_features: int = 8

    def metric(self) -> Metric:
        """The metric to test, as `metric_named` gives it."""
        raise NotImplementedError

    def features(self, n: int, seed: int) -> np.ndarray:
        """Of n images of one kind, float32 (n, n_features)."""
        return np.random.default_rng(seed).normal(size=(n, self.n_features)).astype(np.float32)

    def reference(self) -> Reference:
        """Of 600 real images of that kind."""
        return Reference.of_features(self.features(600, seed=1))

    def good(self) -> np.ndarray:
        """The stored array of 300 good images."""
        return self.features(300, seed=2)

    def worse(self, array: np.ndarray) -> np.ndarray:
        """The same images made worse."""
        return array + 1

    def test_good_images_have_a_finite_value(self) -> None:
        value = self.metric().bind(self.reference())(self.good())
        assert isinstance(value, float)
        assert np.isfinite(value)

    def test_the_order_of_the_images_does_not_matter(self) -> None:
        statistic, array = self.metric().bind(self.reference()), self.good()
        value, shuffled = statistic(array), statistic(np.random.default_rng(0).permutation(array))
        assert np.isclose(shuffled, value, rtol=1e-9, atol=1e-12)

    def test_bound_once_it_answers_again_and_again_and_changes_nothing(self) -> None:
        metric, array = self.metric(), self.good()
        statistic = metric.bind(self.reference())
        first = statistic(array)
        statistic(self.worse(array))
        assert statistic(array) == first == metric.bind(self.reference())(array)
        assert np.array_equal(array, self.good())

    def test_single_precision_storage_is_computed_in_double_precision(self) -> None:
        statistic, array = self.metric().bind(self.reference()), self.good()
        assert np.isclose(statistic(array), statistic(array.astype(np.float64)), rtol=1e-12, atol=1e-15)

    def test_the_more_the_images_are_degraded_the_worse_the_value(self) -> None:
        metric, array = self.metric(), self.good()
        statistic = metric.bind(self.reference())
        values = [statistic(array), statistic(self.worse(array)), statistic(self.worse(self.worse(array)))]
        assert values == sorted(values, reverse=metric.higher_is_better)
        assert len(set(values)) == 3

    def test_its_error_is_that_of_blocks_left_out_one_by_one(self) -> None:
        statistic, array = self.metric().bind(self.reference()), self.good()
        one_by_one = jackknifed(lambda values: statistic(values), array)
        assert np.isclose(jackknifed(statistic, array).se, one_by_one.se, rtol=0.01, atol=1e-12)

    def test_what_the_reference_lacks_is_said_before_anything_is_measured(self) -> None:
        metric, whole = self.metric(), self.reference()
        value = metric.bind(whole)(self.good())
        for less in (None, replace(whole, features=None)):
            problem, statistic = self._bound(less)
            assert f"{metric.label} needs" in problem if statistic is None else statistic(self.good()) == value

    def test_too_few_images_are_refused_with_the_number_that_will_do(self) -> None:
        statistic = self.metric().bind(self.reference())
        enough = next(n for n in range(1, 301) if self._refusal(statistic, n) is None)
        for n in range(enough):
            assert f"at least {enough} images, got {n}" in str(self._refusal(statistic, n))

    def _bound(self, reference: Reference | None) -> tuple[str, Statistic | None]:
        try:
            return "", self.metric().bind(reference)
        except ConfigError as error:
            return error.message, None

    def _refusal(self, statistic: Statistic, n: int) -> str | None:
        try:
            return None if np.isfinite(statistic(self.good()[:n])) else "a value that is not finite"
        except ConfigError as error:
            return error.message
