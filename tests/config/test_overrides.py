"""`--set key=value` means what the same key in the file would mean, and errors name it."""

from pathlib import Path

import pytest

from tstitch_search.config import load_study
from tstitch_search.errors import ConfigError

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "studies" / "small_first.yaml"


def test_overrides_replace_values_of_study_and_space_and_are_recorded() -> None:
    given = (
        "quality.n_images=50",
        "workers.pool=inline",
        "focus.latency_s=[0.5, 2m]",
        "space.n_steps=10",
        "space.grid=1",
    )
    study = load_study(QUICKSTART, given)
    assert study.config.quality.n_images == 50
    assert study.config.workers.pool == "inline"
    assert study.config.focus.latency_s == (0.5, 120.0)
    assert (study.space.n_steps, study.space.grid) == (10, 1)
    assert study.overrides == given


def test_what_is_not_overridden_stays() -> None:
    plain, changed = load_study(QUICKSTART), load_study(QUICKSTART, ["quality.n_images=50"])
    quality = plain.config.quality.model_copy(update={"n_images": 50})
    assert changed.config == plain.config.model_copy(update={"quality": quality})
    assert changed.space == plain.space


def test_a_whole_section_can_be_replaced_and_its_other_keys_fall_back_to_defaults() -> None:
    workers = load_study(QUICKSTART, ["workers={pool: inline}"]).config.workers
    assert (workers.pool, workers.n_workers) == ("inline", None)


def test_the_last_of_two_wins() -> None:
    assert load_study(QUICKSTART, ["name=a", "name=b"]).config.name == "b"


def test_nothing_after_the_sign_means_null() -> None:
    assert load_study(QUICKSTART, ["search.n_trials="]).config.search.n_trials is None


def test_the_search_space_can_be_another_file(tmp_path: Path) -> None:
    space = tmp_path / "other.yaml"
    space.write_text(
        (ROOT / "search_spaces" / "fashion_dit_s_b_xl.yaml").read_text().replace("n_steps: 20", "n_steps: 40")
    )
    assert load_study(QUICKSTART, [f"search_space={space}"]).space.n_steps == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quality.n_image=50", "--set quality.n_image=50: unknown key quality.n_image, did you mean n_images?"),
        ("qualty.n_images=50", "--set qualty.n_images=50: unknown key qualty, did you mean quality?"),
        ("n_images=50", "--set n_images=50: unknown key n_images, did you mean quality.n_images or confirm.n_images?"),
        ("space.n_step=50", "--set space.n_step=50: unknown key n_step, did you mean n_steps?"),
        ("quality.n_images=few", '--set quality.n_images=few: quality.n_images: got "few", expected a whole number'),
        ("quality={n_images: 50}", "--set quality={n_images: 50}: quality: reference is missing"),
        ("name.first=x", '--set name.first=x: name: got {"first": "x"}, expected text'),
        (
            "space.denoisers.0.name=x",
            '--set space.denoisers.0.name=x: denoisers: got {"0": {"name": "x"}}, expected a list',
        ),
        (
            "search_space=nowhere.yaml",
            "--set search_space=nowhere.yaml: search_space: got 'nowhere.yaml', expected a file",
        ),
        ("focus=[1, 2", "--set focus=[1, 2: cannot be read as YAML"),
        ("focus=&a 1", "--set focus=&a 1: cannot be read as YAML: anchors"),
        ("quality.n_images", "--set quality.n_images: expected key=value"),
        ("", "--set : expected key=value"),
        ("=5", "--set =5: unknown key ''"),
        ("quality..n_images=5", "--set quality..n_images=5: unknown key quality.''"),
        (".".join("a" * 5000) + "=1", "expected key=value"),
        ("name=\udcff", "--set name=\\udcff: cannot be read as YAML"),
    ],
)
def test_a_bad_override_is_named_instead_of_a_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_study(QUICKSTART, ["workers.pool=inline", text])
    assert message in caught.value.message
    assert "small_first.yaml:" not in caught.value.message
    assert caught.value.message.encode()


def test_a_line_of_the_file_that_only_an_override_makes_wrong_mentions_the_override() -> None:
    with pytest.raises(ConfigError) as caught:
        load_study(QUICKSTART, ["space.n_steps=7"])
    first, last = caught.value.message.splitlines()
    assert "fashion_dit_s_b_xl.yaml:12: grid: got 0.1: 7 steps are not divisible" in first
    assert last == "(with --set space.n_steps=7)"
