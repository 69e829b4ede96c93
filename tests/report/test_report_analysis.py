"""The report shows what `analyze` left, in numbers that follow from the tables, and nothing where there is none."""

import re
import shutil
from pathlib import Path

import pytest

from tstitch_search.errors import ConfigError
from tstitch_search.report.analysis_tables import COLUMNS, AnalysisTable, read_tables
from tstitch_search.report.reading import read_record
from tstitch_search.report.record import Record
from tstitch_search.report.sections.analysis import SHOWN, analysis, plot
from tstitch_search.report.writing import write_report

NUMBERS = (0.4, 0.31, "fid", 200, 13.5, 0.5, 0.2, 0.1)
MEASURED = (("a", "XL*20", 20, *NUMBERS), ("a", "S*8-XL*12", 20, *NUMBERS), ("b", "XL*20", 20, *NUMBERS))
TABLES = {name: AnalysisTable(name, MEASURED) for name in COLUMNS} | {
    "similarity": AnalysisTable(
        "similarity", (("S", "B", 1, 0.99, 0.01, 32), ("S", "B", 2, 0.9, 0.02, 32), ("S", "XL", 1, 0.8, 0.1, 32))
    ),
    "frequency": AnalysisTable(
        "frequency",
        (
            ("S", "clean", 1, 0.0, 0.5, 3.0, 0.1, 32),
            ("S", "clean", 1, 0.5, 1.0, 1.0, 0.1, 32),
            ("S", "noise", 1, 0.0, 0.5, 9.0, 0.1, 32),
            ("XL", "clean", 1, 0.0, 0.5, 1.0, 0.1, 32),
            ("XL", "clean", 1, 0.5, 1.0, 1.0, 0.1, 32),
        ),
    ),
}


@pytest.fixture(scope="module")
def record(run_folder) -> Record:
    return read_record(run_folder.path)


@pytest.fixture
def analyzed(run_folder, tmp_path: Path) -> Path:
    """A run folder with every table."""
    path = Path(shutil.copytree(run_folder.path, tmp_path / "run"))
    for table in TABLES.values():
        table.write(path)
    return path


def test_a_table_is_read_as_it_was_written(analyzed: Path) -> None:
    assert read_tables(analyzed) == TABLES
    assert TABLES["steps"].records()[1]["allocation"] == "S*8-XL*12"


def test_every_table_has_a_part_of_the_page_and_without_tables_there_is_none(analyzed: Path, run_folder) -> None:
    page = write_report(analyzed).read_text(encoding="utf-8")
    for name, shown in SHOWN.items():
        assert (f'id="analysis-{name}"' in page) == (name != "baselines")  # which is a table
        assert f"<h3>{shown.title}</h3>" in page
    assert set(SHOWN) == set(COLUMNS)
    assert "n = 32 images." in page
    assert "n = 200 images; bars are 95 % intervals" in page
    assert "Analysis</h2>" not in write_report(run_folder.path).read_text(encoding="utf-8")


def test_a_line_is_a_pair_a_member_or_a_setting(record: Record) -> None:
    similarity = plot(record, TABLES["similarity"])
    assert {trace.name: list(trace.y) for trace in similarity.data} == {"S, B": [0.99, 0.9], "S, XL": [0.8]}
    measured = plot(record, TABLES["guidance"])
    assert {trace.name: len(trace.x) for trace in measured.data} == {"scale a": 2, "scale b": 1}
    assert measured.data[0].error_y.array[0] == pytest.approx(1.96 * 0.5)
    assert measured.layout.yaxis.title.text == "FID-200"
    assert plot(record, TABLES["growing-n"]).layout.yaxis.title.text == "FID"


def test_the_share_of_high_frequencies_is_of_the_clean_latents(record: Record) -> None:
    frequency = plot(record, TABLES["frequency"])
    assert {trace.name: list(trace.y) for trace in frequency.data} == {"S": [0.25], "XL": [0.5]}


def test_ways_of_mixing_are_rows_after_the_largest_alone(record: Record, tmp_path: Path) -> None:
    alone, mixed = ("interleaving", "XL*20", 20, *NUMBERS), ("interleaving", "S*10-XL*10", 20, *NUMBERS[:-2], 1.5, 0.1)
    other = ("large to small", "XL*10-S*10", 20, *NUMBERS[:-2], 2.5, 0.1)
    AnalysisTable("baselines", (alone, mixed, ("large to small", *alone[1:]), other)).write(tmp_path)
    shown = analysis(record, tmp_path)
    assert re.findall(r'<td data-label="">(.*?)</td>', shown) == ["the largest alone", "interleaving", "large to small"]
    assert "+2.50 ± 0.10" in shown


def test_members_keep_their_colours(record: Record) -> None:
    frequency = {trace.name: trace.line.color for trace in plot(record, TABLES["frequency"]).data}
    assert frequency == {"S": "#e6a23c", "XL": "#3f6fd1"}  # B, the second of the study, is not in the table


@pytest.mark.parametrize("damage", ["setting,allocation\n", "", "{header}\na,XL*20\n", "{header}\na,XL*20,x,,,,,,,,\n"])
def test_a_damaged_table_is_told_with_its_file(analyzed: Path, damage: str) -> None:
    path = analyzed / "analysis" / "steps.csv"
    path.write_text(damage.format(header=",".join(COLUMNS["steps"])))
    with pytest.raises(ConfigError, match=r"analysis/steps\.csv"):
        read_tables(analyzed)
