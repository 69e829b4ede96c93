"""How alike members are and which frequencies they predict, along the largest one's trajectories."""

from collections.abc import Iterator
from typing import Literal

from tstitch_search.allocation import Allocation
from tstitch_search.config import Study
from tstitch_search.errors import MeasurementError
from tstitch_search.measurement import Chunk, Frequencies, Probe, Similarity
from tstitch_search.report.analysis_tables import Value
from tstitch_search.study_run.workbench import Workbench
from tstitch_search.tasks.analysis.rows import short

# As many images as the paper's figure 11 averages over.
MOST_IMAGES = 32
WANTS: dict[str, Literal["similarity", "frequencies"]] = {"similarity": "similarity", "frequency": "frequencies"}


def probe_rows(bench: Workbench, study: Study, name: str, n_images: int) -> list[tuple[Value, ...]]:
    """The table of the probe `name` on at most MOST_IMAGES images, from the ledger where it was made before.

    Members that cannot be probed are told of, and the table is then empty.
    """
    n_images = min(n_images, MOST_IMAGES)
    asked = {"analysis": name, "n_images": n_images}
    made = [event for event in bench.ledger.of("probe") if asked.items() <= event.items()]
    if not made:
        names = study.space.names
        along = Allocation.of([(names[-1], study.space.n_steps)])
        bench.progress.stage(f"probing {name}")
        try:
            answer = bench.alone(Probe(along, names, Chunk("search", 0, n_images), WANTS[name]))
        except MeasurementError as error:
            bench.progress.note(f"{name} is left out: {error.message}")
            return []
        assert isinstance(answer, Similarity | Frequencies)
        made = [bench.ledger.append("probe", **asked, rows=list(map(list, _rows(answer))))]
        bench.n_new += 1
    return [tuple(row) for row in made[-1]["rows"]]


def _rows(answer: Similarity | Frequencies) -> Iterator[tuple[Value, ...]]:
    return _similarity(answer) if isinstance(answer, Similarity) else _frequencies(answer)


def _similarity(answer: Similarity) -> Iterator[tuple[Value, ...]]:
    """Steps are counted from 1 at the noise end."""
    for pair in answer.pairs:
        for step, (mean, sd) in enumerate(zip(pair.mean, pair.sd, strict=True), start=1):
            yield pair.first, pair.second, step, short(mean), short(sd), answer.n_images


def _frequencies(answer: Frequencies) -> Iterator[tuple[Value, ...]]:
    for spectrum in answer.spectra:
        for step, (means, sds) in enumerate(zip(spectrum.mean, spectrum.sd, strict=True), start=1):
            for band, (mean, sd) in enumerate(zip(means, sds, strict=True)):
                edges = short(band / len(means)), short((band + 1) / len(means))
                yield spectrum.denoiser, spectrum.of, step, *edges, short(mean), short(sd), answer.n_images
