"""A study of a record: three denoisers, 28 allocations; a run of it takes a second and always gives the same."""

from pathlib import Path

STUDY = """\
name: fragile
search_space: {name: past, denoisers: [{name: S}, {name: B}, {name: XL}], n_steps: 6, grid: 1}
proxy_set: {chunk_size: 20}
measure: {recorded: table.csv, noise: 5%}
quality: {n_images: 60}
confirm: {n_images: 40, max_entries: 4}
search: {n_trials: 10, tolerance: 0%}
latency: {batch_size: 4, n_repeats: 3}
workers: {pool: inline}
"""
COST = {"S": 0.1, "B": 0.3, "XL": 1.0}


def recorded_rows() -> list[str]:
    rows = []
    for s in range(7):
        for b in range(7 - s):
            counts = {"S": s, "B": b, "XL": 6 - s - b}
            text = "-".join(f"{name}*{n}" for name, n in counts.items() if n)
            seconds = 0.2 + sum(n * COST[name] for name, n in counts.items())
            rows.append(f"{text},{seconds:.3f},{10 + 3 * s + 1.2 * b + 0.1 * s * b:.3f}")
    return rows


def write_study(folder: Path) -> Path:
    """The study file, written into `folder` with its table."""
    (folder / "table.csv").write_text("allocation,latency_s,fid\n" + "\n".join(recorded_rows()) + "\n")
    (folder / "study.yaml").write_text(STUDY)
    return folder / "study.yaml"
