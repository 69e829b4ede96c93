"""Time and memory to read a file, whole and mutated: studies, spaces, lookup tables. Writes results/parse_cost.json.

    uv run python benchmarks/parse_cost.py

Per kind: the shipped file, 300 accidents of the fuzz test, and the worst that the limits let through.
"""

import json
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "config"))

from test_fuzz_studies import LOOKUP, SPACE, STUDY, mutate  # noqa: E402

from tstitch_search.config import load_study  # noqa: E402
from tstitch_search.config.document import MAX_BYTES, MAX_DEPTH  # noqa: E402
from tstitch_search.config.load import load_space  # noqa: E402
from tstitch_search.errors import ConfigError  # noqa: E402
from tstitch_search.lookup import LookupTable  # noqa: E402
from tstitch_search.study_run.folder import environment  # noqa: E402

RESULTS = Path(__file__).parent / "results"
N_ACCIDENTS = 300


def cost(load: Callable[[Path], object], path: Path) -> tuple[float, float]:
    """Seconds, and the peak of Python's memory in MB; taken in two readings, since tracing slows down."""
    started = time.perf_counter()
    with suppress(ConfigError):
        load(path)
    seconds = time.perf_counter() - started
    tracemalloc.start()
    with suppress(ConfigError):
        load(path)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return seconds, peak_mb


def summary(costs: list[tuple[float, float]]) -> dict[str, float]:
    seconds, megabytes = zip(*costs, strict=True)
    return {
        "n": len(costs),
        "median_ms": 1000 * median(seconds),
        "max_ms": 1000 * max(seconds),
        "max_mb": max(megabytes),
    }


def worst_cases() -> dict[str, bytes]:
    """Documents as large, as deep and as wide as the limits of YAML files let through."""
    return {
        "deep": b"a: " + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        "wide list": b"name: [" + b"1," * (MAX_BYTES // 2 - 10) + b"]",
        "many keys": b"".join(b"k%d: 1\n" % i for i in range(MAX_BYTES // 12)),
        "long text": b"name: " + b"a" * (MAX_BYTES - 10),
        "too large": b"a: 1\n" * MAX_BYTES,
    }


def main() -> None:
    kinds: dict[str, tuple[Path, Callable[[Path], object]]] = {
        "study": (STUDY, load_study),
        "space": (SPACE, load_space),
        "lookup": (LOOKUP, LookupTable.read),
    }
    found: dict[str, object] = {"environment": environment()}
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / SPACE.parent.name).mkdir()
        (Path(scratch) / SPACE.parent.name / SPACE.name).write_bytes(SPACE.read_bytes())
        for kind, (source, load) in kinds.items():
            path = Path(scratch) / source.parent.name / source.name
            path.parent.mkdir(exist_ok=True)
            accidents = []
            for seed in range(N_ACCIDENTS):
                path.write_bytes(mutate(source.read_bytes(), random.Random(seed)))
                accidents.append(cost(load, path))
            found[kind] = {"shipped": summary([cost(load, source)]), "accidents": summary(accidents)}
        for name, content in worst_cases().items():
            path = Path(scratch) / "worst.yaml"
            path.write_bytes(content)
            found[f"worst: {name}"] = summary([cost(load_study, path)])
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "parse_cost.json").write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
