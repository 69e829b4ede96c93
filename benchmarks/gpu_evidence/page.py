"""The page of the results: every figure beside its goal, misses named."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "results" / "gpu_evidence.md"
TITLES = {
    "tests": "Tests on the device",
    "times": "Time known before it is measured",
    "kinds": "The same of other kinds of members",
    "overhead": "The stitched pipeline against calls by hand",
    "study": "A whole study",
    "weights": "Offloaded and quantised members",
    "modern": "Modern sizes",
}
Row = Mapping[str, Any]


def write_page(results: Sequence[Path], page: Path = PAGE) -> Path:
    """The page of one or more results, kept as JSON beside it; of each part the last one that was done counts."""
    documents = [json.loads(path.read_text()) for path in results]
    if any(document["reduced"] for document in documents):
        raise SystemExit("results of --reduced say nothing about a GPU")
    merged = {**documents[-1], "parts": {}}
    for document in documents:
        for name, part in document["parts"].items():
            if part["state"] == "done" or merged["parts"].get(name, {}).get("state") != "done":
                merged["parts"][name] = {**part, "date": document["date"]}
    page.with_suffix(".json").write_text(json.dumps(merged, indent=1) + "\n")
    page.write_text(as_markdown(merged))
    return page


def as_markdown(document: Row) -> str:
    """The whole page."""
    parts = [name for name in TITLES if name in document["parts"]]
    lines = ["# Evidence on a GPU", "", *_head(document), "", "## Goals", "", *_goals(document["parts"]), ""]
    if notes := document.get("notes"):  # written by hand into the results, by who looked at them
        lines += ["## What the misses mean", "", *(f"- {note}" for note in notes), ""]
    for name in parts:
        lines += [f"## {TITLES[name]}", "", *_state(document["parts"][name]), *SECTIONS[name](document["parts"][name])]
    return "\n".join(lines).rstrip() + "\n"


def _head(document: Row) -> list[str]:
    machine = document["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    reached = [
        f"{machine[key]:.0f} {unit}"
        for key, unit in (
            ("matmul_tflop_per_s", "TFLOP/s in a product of 8192 x 8192 matrices (bfloat16)"),
            ("copy_gb_per_s", "GB/s in a copy on the device"),
            ("from_pinned_gb_per_s", "GB/s from pinned memory"),
        )
        if key in machine
    ]
    return [
        f"{machine['device']}, driver {machine.get('driver', '-')}, CUDA {machine.get('cuda', '-')}, Python "
        f"{machine['python']}, {machine['cpu_cores']} CPU cores. {packages}.",
        f"{document['date'][:10]}, commit {document['commit'] or 'unknown'}. Command: `scripts/gpu_evidence`.",
        f"This device reaches {'; '.join(reached)}." if reached else "",
        "",
        "Weights are random where nothing else is said: times do not depend on them. Nothing here is about quality.",
    ]


def _goals(parts: Row) -> list[str]:
    rows = [*_goal_rows(parts)]
    return ["| claim | goal | found | |", "|---|---|---|---|", *rows]


def _goal_rows(parts: Row) -> Iterator[str]:
    for row in [*_rows(parts, "tests", "test"), *_rows(parts, "weights", "test")]:
        yield _goal(f"test: {_words(row['name'])}", "passes", row["outcome"], row["outcome"] == "passed")
    for row in [*_rows(parts, "times", "errors"), *_rows(parts, "kinds", "errors")]:
        what = f"times predicted, {row['what']}, {row['n_steps']} steps ({row['n']} allocations)"
        found = f"median {row['median']:.2%}, worst {row['worst']:.1%}"
        yield _goal(what, "median 2 %, worst 5 %", found, row["median"] <= 0.02 and row["worst"] <= 0.05)
    for row in _rows(parts, "overhead", "overhead"):
        what = f"stitched over by hand, {row['how']}, batch of {row['batch_size']}"
        yield _goal(what, "at most 1 %", f"{row['added']:+.1%}", row["added"] <= 0.01)
        yield _goal(f"the same images, {row['how']}, batch of {row['batch_size']}", "same bits", *_same(row))
    for row in _rows(parts, "overhead", "stock"):
        what = f"stitched over the stock pipeline, {row['how']}, batch of {row['batch_size']}"
        yield _goal(what, "at most 1 %", f"{row['added']:+.1%}", row["added"] <= 0.01)
    facts = parts.get("study", {}).get("facts", {})
    if facts.get("busy_share") is not None:
        yield _goal("the GPU is busy while searching", "90 %", f"{facts['busy_share']:.0%}", facts["busy_share"] >= 0.9)
    for row in _rows(parts, "study", "agreement"):
        found = f"{row['n_same_from_the_start']} of {row['n_asked'][0]} in a row"
        yield _goal("decisions with the CPU's calibration", "the CPU's", found, row["same_decisions"])
        yield _goal("what that study confirms", "the CPU's", *_front(row))


def _same(row: Row) -> tuple[str, bool]:
    return ("same bits" if row["same_images"] else "other bits"), row["same_images"]


def _front(row: Row) -> tuple[str, bool]:
    return ("the same allocations" if row["same_front"] else "other allocations"), row["same_front"]


def _goal(claim: str, goal: str, found: str, is_met: bool) -> str:
    return f"| {claim} | {goal} | {found} | {'met' if is_met else '**missed**'} |"


def _rows(parts: Row, part: str, kind: str) -> list[Row]:
    return [row for row in parts.get(part, {}).get("rows", []) if row["kind"] == kind]


def _words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _state(part: Row) -> list[str]:
    """What became of the part, what it was expected to take, and what was left out."""
    expected = part.get("estimate", {}).get("expected_s")
    state = "stopped from outside" if part["state"] == "running" else part["state"]
    lines = [f"{state.capitalize()} after {part.get('seconds', 0):.0f} s (derived beforehand: {expected} s)."]
    lines += [f"Not run: {row['what']}, because {row['why']}." for row in part["rows"] if row["kind"] == "not run"]
    if "problem" in part:
        lines.append(f"It ended with `{part['problem'].strip().splitlines()[-1][:200]}`.")
    return [*lines, ""]


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    return [*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def _by_name(values: Mapping[str, float] | None, digits: int = 3) -> str:
    return "; ".join(f"{name} {value:.{digits}f}" for name, value in (values or {}).items()) or "-"


def _tests(part: Row) -> list[str]:
    rows = [
        (_words(row["name"]), row["outcome"], ", ".join(f"{k} {v}" for k, v in row.get("measured", {}).items()))
        for row in part["rows"]
        if row["kind"] == "test"
    ]
    return _table(("test", "outcome", "measured"), rows)


def _times(part: Row) -> list[str]:
    lines = []
    if kernels := part["facts"].get("kernels_ms"):
        lines += [
            f"Of a step the device computes, in ms: {_by_name(kernels)}. Where it takes longer, it waits for the host.",
            "",
        ]
    if "compile_s" in part["facts"]:
        lines += [f"Compiling one block of S and its first step took {part['facts']['compile_s']} s.", ""]
    lines += _table(
        (
            "members",
            "steps",
            "per step, ms",
            "beginning a segment, ms",
            "outside the steps, ms",
            "repeats differ by",
            "the host's launch of an operator then, us",
        ),
        [
            (
                r["what"],
                r["n_steps"],
                _by_name(r["step_ms"]),
                _by_name(r["switch_ms"]),
                f"{r['fixed_ms']:.2f}",
                f"{r['spread']:.1%}",
                f"{r['launch_us']:.1f}" if r.get("launch_us") else "-",
            )
            for r in part["rows"]
            if r["kind"] == "calibration"
        ],
    )
    return lines + _table(
        ("members", "allocation", "predicted, s", "measured, s", "error", "within its job", "memory, MB"),
        [
            (
                r["what"],
                f"`{r['allocation']}`",
                f"{r['predicted_s']:.4f}",
                f"{r['measured_s']:.4f} ± {r['measured_se']:.4f}",
                f"{r['error']:+.1%}",
                f"{r['error_within_job']:+.1%}",
                f"{r['peak_memory_mb']:.0f}",
            )
            for r in part["rows"]
            if r["kind"] == "time"
        ],
    )


def _overhead(part: Row) -> list[str]:
    return _table(
        ("against", "batch", "that, ms", "stitched, ms", "added", "quartiles", "added, ms"),
        [
            (
                f"{'calls by hand' if r['kind'] == 'overhead' else 'the stock pipeline of one member'}, {r['how']}",
                r["batch_size"],
                f"{1000 * r['by_hand_s']:.2f}",
                f"{1000 * r['stitched_s']:.2f}",
                f"{r['added']:+.1%}",
                " to ".join(f"{q:+.1%}" for q in r["added_quartiles"]),
                f"{r['added_ms']:+.2f}",
            )
            for r in part["rows"]
            if r["kind"] in ("overhead", "stock")
        ],
    )


def _study(part: Row) -> list[str]:
    facts = part["facts"]
    lines = []
    if "chunks_per_second" in facts:
        lines = [
            f"Search: {facts['n_chunks']} chunks in {facts['search_s']:.1f} s, {facts['chunks_per_second']:.2f} chunks "
            f"and {facts['images_per_second']:.0f} images a second; the driver's share of the time, during which the "
            f"worker waits (both in one process), is {facts['driver_share']:.0%}.",
            "",
        ]
    stages = [
        (r["stage"], f"{r['seconds']:.1f}", f"{r['worker_share']:.0%}", _share(r["busy_share"]))
        for r in part["rows"]
        if r["kind"] == "stage"
    ]
    lines += _table(("stage", "seconds", "the worker's share", "GPU busy (nvidia-smi)"), stages)
    for row in part["rows"]:
        if row["kind"] == "agreement":
            lines += [f"Largest difference in quality between CPU and GPU: {row['largest_fid_difference']}.", ""]
    return lines


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _modern(part: Row) -> list[str]:
    lines = _table(
        ("model", "tokens", "step, ms", "least, ms", "TFLOP/s"),
        [
            (r["model"], r["n_tokens"], f"{r['step_ms']:.2f}", f"{r['floor_ms']:.2f}", f"{r['tflop_per_s']:.0f}")
            for r in part["rows"]
            if r["kind"] == "step"
        ],
    )
    lines += _table(
        ("members are", "per step, ms", "beginning a segment, ms", "least for the copy, ms", "peak, MB", "errors"),
        [
            (
                r["how"],
                _by_name(r["step_ms"]),
                _by_name(r["switch_ms"]),
                _by_name(r["copy_floor_ms"]),
                f"{r['peak_memory_mb']:.0f}",
                ", ".join(f"{e:+.1%}" for e in r["errors"]),
            )
            for r in part["rows"]
            if r["kind"] == "switching"
        ],
    )
    for r in part["rows"]:
        if r["kind"] == "loras":
            lines += [
                f"{r['n_loras']} LoRAs of rank {r['rank']} add {r['added_mb']:.0f} MB to a base of {r['base_mb']:.0f} "
                f"MB; as many copies of it would take {r['copies_mb']:.0f} MB.",
                f"A step takes {r['step_ms']:.2f} ms without and {r['step_with_lora_ms']:.2f} ms with one, a change "
                f"from one to the next {r['change_ms']:.2f} ms.",
                "",
            ]
    return lines


SECTIONS = {
    "tests": _tests,
    "times": _times,
    "kinds": _times,
    "overhead": _overhead,
    "study": _study,
    "weights": _tests,
    "modern": _modern,
}
