"""The small parts of the page: markup, numbers, colours, pictures."""

from tstitch_search.lookup import Objective
from tstitch_search.report.markup import Html, join, tag
from tstitch_search.report.plots.palette import ink_on
from tstitch_search.report.serving import one_table_for_all
from tstitch_search.report.wording import duration, named, plus_minus


def test_text_is_escaped_unless_it_is_markup_already() -> None:
    assert tag("p", "<b>", Html("<i></i>"), attributes={"title": '"'}) == '<p title="&quot;">&lt;b&gt;<i></i></p>'
    assert join("&", tag("b", "&")) == "&amp;<b>&amp;</b>"


def test_digits_end_where_the_error_begins() -> None:
    assert plus_minus(17.2987, 0.523) == "17.30 ± 0.52"
    assert plus_minus(0.05, 0.151, sign=True) == "+0.05 ± 0.15"
    assert plus_minus(1234.5, 41.0) == "1234 ± 41"
    assert plus_minus(2.0, 0) == "2.000 ± 0.000"


def test_an_fid_is_named_with_its_n() -> None:
    assert [named("FID", n) for n in (100, 5000, 50_000, 1234)] == ["FID-100", "FID-5K", "FID-50K", "FID-1234"]


def test_durations_are_spelt_as_people_say_them() -> None:
    assert [duration(s) for s in (8.44, 200, 7500)] == ["8.4 s", "3 min 20 s", "2 h 05 min"]


def test_ink_contrasts_with_its_ground() -> None:
    assert ink_on("#ffffff") != ink_on("#000000")
    assert ink_on("#e6a23c") == ink_on("#ffffff")


def test_where_a_gain_below_zero_is_ruled_out_no_gain_is_left() -> None:
    about = {"gains": [{"low": -30.0}], "n_images": {"a": 20, "b": 20}, "n_compared": 2, "ruled_out": -25.0}
    said = one_table_for_all(about, Objective("psnr", "PSNR", True), 28.9)
    assert said == "One table serves all 2 groups: gains are ruled out (95 %, over 2 comparisons together)."
