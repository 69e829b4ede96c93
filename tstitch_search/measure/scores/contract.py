"""What every metric per pair or per image must keep, as test classes for metrics of your own.

    from tstitch_search.measure.scores.contract import PairScoreContract

    class TestDarkness(PairScoreContract):
        higher_is_better = False
        def score(self): return Darkness(torch.device("cpu"))

pytest runs what is inherited; nothing here imports it.
"""

import torch

from tstitch_search.measure.scores import ImageScore, PairScore


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
