"""Workers share the GPUs so that all of them fit."""

import pytest

from tstitch_search.study_run.preparation.pool import share_of_gpus


@pytest.mark.parametrize("n_gpus", range(1, 9))
@pytest.mark.parametrize("n_workers", range(1, 17))
def test_every_worker_gets_whole_gpus_or_a_part_of_one_and_all_fit(n_gpus: int, n_workers: int):
    share = share_of_gpus(n_gpus, n_workers)
    assert share > 0
    per_gpu = int(1 / share + 1e-9) if share < 1 else 0
    n_fitting = n_gpus * per_gpu if share < 1 else n_gpus // share
    assert share < 1 or share == int(share)
    assert n_fitting >= n_workers
