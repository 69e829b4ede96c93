"""A program: Ray Tune runs a recorded study with our searcher and our trainable. Prints what it found as JSON."""

import json
import sys
from pathlib import Path

from tstitch_search.integrations.tune import AllocationSearcher, AllocationTrainable, tune
from tstitch_search.workers.ray_session import connect


def main(study: str, folder: str) -> None:
    connect(n_cpus=2)
    searcher = AllocationSearcher(study, Path(folder) / "study.db", ["search.n_trials=6"])
    trainable = tune.with_resources(tune.with_parameters(AllocationTrainable, study=study), {"cpu": 1})
    config = tune.TuneConfig(search_alg=searcher, num_samples=20, max_concurrent_trials=2, reuse_actors=True)
    results = tune.Tuner(trainable, tune_config=config, run_config=tune.RunConfig(storage_path=folder, verbose=0)).fit()
    found = {r.config["allocation"]: [r.metrics["fid"], r.metrics["n_images"]] for r in results}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
