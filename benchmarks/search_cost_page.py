"""The results of benchmarks/search_cost.py as a page."""

from html import escape

import numpy as np

HEAD = """# What a search costs, and how good its table is

Cost: every denoiser call before confirmation, baselines and control images included, as a share of enumerating the grid
of 0.1 on 3,000 images each. Regret: mean excess of log FID of what the table deploys, over time budgets. Goal: regret
within 1 % in at least 90 % of the seeds. Ours is charged up to where it stops by itself; rivals, each at its own best
n, up to where they would best have stopped. How it is measured: `benchmarks/search_cost.py`.
"""
COLOURS = ("#0b6e4f", "#c1121f", "#1d4e89", "#b5651d", "#6a4c93", "#555555", "#888888")


def page(document: dict) -> str:
    """All landscapes as Markdown."""
    return HEAD + "".join(_landscape(found) for found in document.values())


def picture(found: dict) -> str:
    """The file name of a landscape's drawing."""
    return f"search_cost_{found['n_allocations']}.svg"


def _landscape(found: dict) -> str:
    ratio, (time_s, corner) = found["ratio"], found["reference_point"]
    lines = [
        f"\n## {found['landscape']}: {found['n_allocations']:,} allocations\n",
        f"Truth: FID of {found['n_images']:,} images. Reference point: {time_s:.4g} s, log FID {corner:.4g}.",
        f"Cost to the goal against the best Optuna sampler ({found['best_sampler']}, which reaches it in "
        f"{ratio['rival_reached']:.0%} of the seeds), paired by seed: {ratio['ratio']:.2f} (90 % interval "
        f"{ratio['low']:.2f} to {ratio['high']:.2f}, n = {ratio['n']}).",
        f"Search and confirmation of 12 entries on 1,000 images: {found['with_confirmation']:.1%}.\n",
        f"![regret against cost]({picture(found)})\n",
        "| method | setting | seeds | cost | regret | within 1 % | hypervolume | goal reached at cost | "
        "allocations beside controls: images each |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(_row, found["entries"]),
        "",
    ]
    return "\n".join(lines)


def _row(e: dict) -> str:
    images = ", ".join(f"{count:.1f} x {n}" for n, count in e["images"].items())
    goal = f"{e['cost_of_goal']:.2%}" if e["cost_of_goal"] else "not reached"
    cells = [
        e["family"],
        e["setting"],
        str(e["seeds"]),
        f"{e['cost']:.2%}",
        f"{e['regret']:.2%} ± {e['regret_se']:.2%}",
        f"{e['within']:.0%}",
        f"{e['hypervolume']:.2%}",
        goal,
        f"{e['allocations']:.0f}: {images}",
    ]
    return f"| {' | '.join(cells)} |"


def _points(entries: list[dict], grid: np.ndarray) -> list[tuple[float, float]]:
    """(cost, regret): of an enumeration one for each n, of a search (its first setting) up to where it ended."""
    if "enumeration" in entries[0]["family"]:
        return [(e["cost"], e["regret"]) for e in entries]
    first = entries[0]
    known = zip(grid, first["mean_regret"], strict=True)
    on_the_way = [(c, r) for c, r in known if r is not None and np.isfinite(r) and c <= first["cost"]]
    return [*on_the_way, (first["cost"], first["regret"])]


def curves(found: dict, grid: np.ndarray) -> str:
    """Mean regret against cost, as SVG; both axes are logarithmic. Ours as it is by default, rivals at their best n."""
    width, height, left, bottom = 760, 400, 70, 50
    lo, hi = np.log([grid[0], 1.2])
    y_lo, y_hi = np.log([2e-4, 0.5])

    def place(cost: float, regret: float) -> str:
        x = left + (np.log(cost) - lo) / (hi - lo) * (width - left - 190)
        y = (y_hi - np.log(np.clip(regret, 2e-4, 0.5))) / (y_hi - y_lo) * (height - bottom)
        return f"{x:.1f},{y:.1f}"

    families: dict[str, list[dict]] = {}
    for e in found["entries"]:
        families.setdefault(e["family"], []).append(e)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for tick in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0):
        x = place(tick, 0.5).split(",")[0]
        parts.append(f'<text x="{x}" y="{height - bottom + 16}" text-anchor="middle">{tick:.1%}</text>')
    for tick in (0.001, 0.01, 0.1):
        y = place(grid[0], tick).split(",")[1]
        parts.append(f'<text x="{left - 6}" y="{y}" text-anchor="end">{tick:.1%}</text>')
        parts.append(f'<line x1="{left}" x2="{width - 190}" y1="{y}" y2="{y}" stroke="#ddd"/>')
    for i, ((family, entries), colour) in enumerate(zip(families.items(), COLOURS, strict=False)):
        line = " ".join(place(*point) for point in _points(entries, grid))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>')
        parts += [
            f'<circle cx="{xy.split(",")[0]}" cy="{xy.split(",")[1]}" r="3" fill="{colour}"/>'
            for xy in line.split()[-1:]
        ]
        parts.append(
            f'<text x="{width - 185}" y="{20 + 18 * i}" fill="{colour}">{escape(family.split(" of ")[0])}</text>'
        )
    parts.append(f'<text x="{left}" y="{height - 8}">cost (share of enumeration) against mean regret of log FID</text>')
    return "\n".join([*parts, "</svg>", ""])
