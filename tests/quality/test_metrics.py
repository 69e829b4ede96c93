"""Every metric keeps the contract of `Metric`; beside it, what each of them means."""

from collections.abc import Callable
from dataclasses import replace
from math import log

import numpy as np
import pytest

from tstitch_search.config.models.quality import BY_PROMPT, NAMES, PAIRED
from tstitch_search.errors import ConfigError
from tstitch_search.measure.scores.contract import SetMetricContract
from tstitch_search.quality.estimate import estimate, measured
from tstitch_search.quality.frechet import FrechetDistance
from tstitch_search.quality.jackknife import Statistic
from tstitch_search.quality.metrics import METRICS, Metric, metric_named
from tstitch_search.quality.metrics.metric import BLOCK, check_n_images
from tstitch_search.quality.reference import Reference

D, N, N_CLASSES = 8, 300, 5


def gaussians(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, D)).astype(np.float32)


def reference_of(features: np.ndarray) -> Reference:
    mu, sigma = features.mean(0, dtype=np.float64), np.atleast_2d(np.cov(features, rowvar=False, dtype=np.float64))
    return Reference(mu, sigma, len(features), features, "")


REFERENCE = reference_of(gaussians(1, n=BLOCK + 100))
NO_FEATURES = replace(REFERENCE, features=None)

# Per stored array: what good images give, and how to make it worse.
GOOD: dict[str, np.ndarray] = {
    "features": gaussians(2),
    "logits": 4 * np.random.default_rng(3).normal(size=(N, N_CLASSES)).astype(np.float32),
    **{name: np.random.default_rng(4).uniform(20, 40, size=N).astype(np.float32) for name in BY_PROMPT},
    **{name: np.random.default_rng(5).uniform(0, 1, size=N).astype(np.float32) for name in PAIRED},
}
DEGRADE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "features": lambda x: x + 1,
    "logits": lambda x: x / 4,
    **{name: lambda x: x - 5 for name in BY_PROMPT},
    **{name: (lambda x: x - 0.2) if METRICS[name].higher_is_better else (lambda x: x + 0.2) for name in PAIRED},
}


class TestOfOurs(SetMetricContract):
    """The means of values per image and per pair keep what is asked of a set's metric, too."""

    @pytest.fixture(autouse=True, params=METRICS.values(), ids=METRICS)
    def _metric(self, request: pytest.FixtureRequest) -> None:
        self.of = request.param

    def metric(self) -> Metric:
        assert metric_named(self.of.name) is self.of
        return self.of

    def reference(self) -> Reference:
        return REFERENCE

    def good(self) -> np.ndarray:
        return GOOD[self.of.array].copy()

    def worse(self, array: np.ndarray) -> np.ndarray:
        return DEGRADE[self.of.array](array)


class Diversity:
    """A set's metric of the user's own: how far images are from each other."""

    kind, label, higher_is_better = "set", "diversity", True

    @staticmethod
    def bind(reference: Reference | None) -> Statistic:
        def diversity(features: np.ndarray) -> float:
            check_n_images("diversity", features, at_least=2)
            return float(features.var(axis=0, dtype=np.float64, ddof=1).sum())

        return diversity


class TestOfOnesOwn(SetMetricContract):
    def metric(self) -> Metric:
        return metric_named(f"{__name__}:Diversity")

    def worse(self, array: np.ndarray) -> np.ndarray:
        return array * 0.9


class Wrong(Diversity):
    """What its statistic answers is not one number, or none."""

    answer: float | np.ndarray = float("nan")

    @classmethod
    def bind(cls, reference: Reference | None) -> Statistic:
        return lambda features: cls.answer


class WrongLength(Wrong):
    answer = np.zeros(3)


@pytest.mark.parametrize(("name", "given"), [("Wrong", "nan"), ("WrongLength", r"an array of shape \(3,\)")])
def test_an_answer_that_is_not_one_finite_number_is_said(name: str, given: str) -> None:
    metric = metric_named(f"{__name__}:{name}")
    with pytest.raises(ConfigError, match=f"diversity of {N} images is {given}, expected one finite number"):
        measured(metric, metric.bind(REFERENCE), GOOD["features"])


def test_a_metric_of_a_set_that_goes_by_the_order_breaks_the_contract() -> None:
    class First(TestOfOnesOwn):
        def metric(self) -> Metric:
            return replace(METRICS["fid"], bind=lambda reference: lambda features: float(features[0, 0]))

    with pytest.raises(AssertionError):
        First().test_the_order_of_the_images_does_not_matter()


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'FID', expected one of fid, kid, .*, clip_score"):
        metric_named("FID")


def test_a_reference_without_features_says_what_to_give_instead() -> None:
    with pytest.raises(ConfigError) as caught:
        metric_named("kid").bind(NO_FEATURES)
    assert "a folder of images, or an .npz file" in caught.value.hint


@pytest.mark.parametrize(("name", "enough"), [("kid", 2), ("precision", 4), ("recall", 4)])
def test_a_reference_of_too_few_real_images_is_refused(name: str, enough: int) -> None:
    with pytest.raises(ConfigError, match=f"of the reference, needs at least {enough} images, got {enough - 1}"):
        metric_named(name).bind(replace(REFERENCE, features=gaussians(1)[: enough - 1]))


def test_fid_is_the_frechet_distance() -> None:
    assert metric_named("fid").bind(REFERENCE)(GOOD["features"]) == FrechetDistance(REFERENCE)(GOOD["features"])


def test_kid_is_the_formula_written_with_three_sums() -> None:
    x, y = gaussians(2, n=7).astype(np.float64), gaussians(1, n=5).astype(np.float64)

    def mean_kernel(a: np.ndarray, b: np.ndarray, same: bool) -> float:
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return float(np.mean([(a[i] @ b[j] / D + 1) ** 3 for i, j in pairs]))

    expected = mean_kernel(x, x, True) + mean_kernel(y, y, True) - 2 * mean_kernel(x, y, False)
    assert metric_named("kid").bind(reference_of(y))(x) == pytest.approx(expected, rel=1e-10)


def test_kid_of_images_like_the_real_ones_is_zero_on_average() -> None:
    kid = metric_named("kid").bind(reference_of(gaussians(1, n=2000)))
    values = [kid(gaussians(seed, n=50)) for seed in range(10, 110)]
    assert abs(np.mean(values)) < 3 * np.std(values) / 10
    assert min(values) < 0  # why two of them are never compared as a ratio


def test_inception_score_of_sure_answers_is_the_number_of_classes_used() -> None:
    inception_score = metric_named("inception_score").bind(None)
    assert inception_score(1000 * np.eye(10)) == pytest.approx(10)
    assert inception_score(np.full((10, 10), 700.0)) == pytest.approx(1)
    assert inception_score(1000 * np.eye(10)[[0, 0, 3, 3]]) == pytest.approx(2)


def test_inception_score_of_unsure_answers_equals_the_closed_form() -> None:
    logits = np.array([[log(3), 0.0], [0.0, log(3)]])  # p = (3/4, 1/4) and (1/4, 3/4)
    divergence = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    assert metric_named("inception_score").bind(None)(logits) == pytest.approx(np.exp(divergence))


def test_few_kinds_of_images_have_high_precision_and_low_recall_and_too_many_kinds_the_reverse() -> None:
    narrow, wide = 0.1 * gaussians(2), 2 * gaussians(3)
    precision, recall = (metric_named(name).bind(REFERENCE) for name in ("precision", "recall"))
    assert precision(narrow) > 0.95 > 0.05 > recall(narrow)
    assert precision(wide) < 0.5 < recall(wide)


def test_the_real_images_themselves_are_precise_and_complete() -> None:
    assert REFERENCE.features is not None
    assert all(metric_named(name).bind(REFERENCE)(REFERENCE.features) == 1 for name in ("precision", "recall"))


def test_balls_reach_to_the_third_neighbour_of_each_centre() -> None:
    real = np.array([[0.0], [1.0], [2.0], [3.0], [100.0]])  # radii 3, 2, 2, 3, 99
    images = np.array([[-2.9], [-3.1], [4.9], [200.0]])  # inside, outside, inside, outside
    assert metric_named("precision").bind(reference_of(real))(images) == 0.5


def test_clip_score_is_the_mean() -> None:
    assert metric_named("clip_score").bind(None)(np.array([10.0, 20.0, 60.0])) == 30


def test_the_study_file_knows_the_same_names_and_pairs() -> None:
    assert set(NAMES) == set(METRICS)
    assert set(PAIRED) == {m.name for m in METRICS.values() if m.kind == "pair"}
    assert all(METRICS[name].margin for name in PAIRED)


def test_the_error_of_a_mean_is_that_of_the_textbook_and_of_a_pair_that_of_the_differences() -> None:
    metric, rng = METRICS["psnr"], np.random.default_rng(0)
    x = rng.normal(30, 2, 50)
    y = x + rng.normal(0.5, 0.1, 50)
    own, other = (measured(metric, metric.bind(None), a) for a in (y, x))
    assert own.se == pytest.approx(y.std(ddof=1) / 50**0.5)
    found = estimate(own, other, metric)
    assert found.difference_se == pytest.approx((y - x).std(ddof=1) / 50**0.5)
    assert found.difference_se < own.se / 5
