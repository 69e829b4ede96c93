"""The same question to BoTorch: its analytic EHVI with a deterministic latency, on a posterior of its own."""

import numpy as np
import pytest

from tstitch_search.search.acquisition import expected_hypervolume_improvement

INSTALL = "BoTorch is not installed; uv run --group botorch pytest tests/search/test_improvement_botorch.py"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_botorch_gives_the_same_expected_improvement():
    pytest.importorskip("botorch", reason=INSTALL, exc_type=ImportError)
    import torch
    from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
    from botorch.models import SingleTaskGP
    from botorch.models.deterministic import GenericDeterministicModel
    from botorch.models.model import ModelList
    from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning

    rng = np.random.default_rng(0)
    x = torch.tensor(rng.random((15, 2)))
    quality = -(torch.exp(-2 * x[:, :1]) + 0.3 * x[:, 1:] + 0.05 * torch.tensor(rng.normal(size=(15, 1))))

    def minus_latency(points: torch.Tensor) -> torch.Tensor:
        return -(0.2 + points[..., :1] + 0.5 * points[..., 1:])

    process = SingleTaskGP(x, quality, torch.full_like(quality, 0.05**2))
    model = ModelList(GenericDeterministicModel(minus_latency), process)
    corner = [-2.0, -1.5]
    known = torch.cat([minus_latency(x), quality], dim=-1)
    theirs = ExpectedHypervolumeImprovement(
        model, corner, FastNondominatedPartitioning(torch.tensor(corner, dtype=torch.double), known)
    )
    new = torch.tensor(rng.random((200, 2)))
    with torch.no_grad():
        posterior, expected = process.posterior(new), theirs(new.unsqueeze(1)).numpy()
        mean, sd = -posterior.mean[:, 0].numpy(), posterior.variance[:, 0].sqrt().numpy()

    ours = expected_hypervolume_improvement(-minus_latency(new)[:, 0].numpy(), mean, sd, -known.numpy(), (2.0, 1.5))
    assert expected.max() > 0.01
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)  # BoTorch gives the latency a variance of 1e-9
