"""`study_as_yaml` loses nothing: what it writes loads as the same study."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.config import Study
from tstitch_search.config.load import load_study, study_as_yaml
from tstitch_search.config.models import (
    ConfirmConfig,
    DenoiserConfig,
    ExecutionConfig,
    FocusConfig,
    GuardConfig,
    LatencyConfig,
    ProxySetConfig,
    QualityConfig,
    SearchConfig,
    SpaceConfig,
    StudyConfig,
    WorkersConfig,
)
from tstitch_search.config.models.quality import BY_PROMPT, EXTRACTOR_OF, NAMES
from tstitch_search.errors import ConfigError

QUICKSTART = Path(__file__).parents[2] / "studies" / "small_first.yaml"

text = st.text(max_size=30).map("no path: {}".format)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.+]{0,9}", fullmatch=True)
file_names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True)
whole = st.integers(3, 2**53)
images = st.integers(20, 1_000_000)
WANT_MORE = (*BY_PROMPT, *EXTRACTOR_OF, "perceptual", "lpips")  # prompts, an extractor or a file
metric_names = st.sampled_from([name for name in NAMES if name not in WANT_MORE])
shares = st.floats(0, 1)
seconds = st.floats(0, exclude_min=True, allow_infinity=False)


@st.composite
def spaces(draw: st.DrawFn) -> SpaceConfig:
    members = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    grid_steps, n_segments = draw(st.integers(1, 10)), draw(st.integers(2, 20))
    orders = st.lists(st.lists(st.sampled_from(members), min_size=1, max_size=4).map(tuple), max_size=3).map(tuple)
    return SpaceConfig(
        name=draw(file_names),
        family="dit",
        pipeline=draw(text),
        pipeline_revision=draw(st.none() | text),
        denoisers=tuple(
            DenoiserConfig(
                name=name, weights=draw(text), subfolder=draw(st.none() | text), revision=draw(st.none() | text)
            )
            for name in members
        ),
        n_steps=grid_steps * n_segments,
        solver=draw(st.none() | text),
        grid=draw(st.sampled_from([grid_steps, 1 / n_segments])),
        orders=draw(st.sampled_from(["small_first", "any"]) | orders),
        n_classes=draw(whole),
    )


configs = st.builds(
    StudyConfig,
    name=file_names,
    search_space=text,
    guidance_scale=st.floats(1, allow_infinity=False),
    sampler_seed=whole,
    focus=st.builds(
        FocusConfig,
        latency_s=st.none() | st.tuples(seconds, seconds).map(sorted).map(tuple),
        max_fid_loss=st.none() | shares,
    ),
    proxy_set=st.builds(ProxySetConfig, labels=st.sampled_from(["balanced", "random"]), seed=whole, chunk_size=whole),
    quality=st.builds(
        QualityConfig,
        objective=metric_names,
        metrics=st.lists(metric_names, max_size=2).map(tuple),
        guard=st.none() | st.builds(GuardConfig, metric=metric_names, tolerance=shares),
        features_dtype=st.sampled_from(["float32", "float16"]),
        extractor=text,
        extractor_weights=st.none() | text,
        reference=text,
        n_images=images,
    ),
    search=st.builds(
        SearchConfig,
        sampler=st.sampled_from(["known_latency", "enumerate", "random", "tpe", "nsga2", "gp"]),
        n_trials=st.none() | whole,
        device_seconds=st.none() | seconds,
        tolerance=st.none() | shares,
        look_ahead=whole,
        warm_start=st.just(()),
    ),
    confirm=st.builds(ConfirmConfig, n_images=images, max_entries=whole, lossless_margin=shares),
    latency=st.builds(
        LatencyConfig,
        batch_size=whole,
        n_repeats=whole,
        error=shares,
        seconds=st.none() | seconds,
        threads=st.none() | whole,
        **{"from": st.none() | text},
    ),
    execution=st.builds(
        ExecutionConfig,
        compile=st.booleans(),
        channels_last=st.booleans(),
        attention=st.sampled_from(["default", "math", "flash", "efficient", "cudnn"]),
        vae=st.none() | text,
    ),
    workers=st.builds(
        WorkersConfig,
        pool=st.sampled_from(["ray", "inline"]),
        n_workers=st.none() | whole,
        device=st.sampled_from(["auto", "cpu", "cuda"]),
        dtype=st.sampled_from(["float32", "float16", "bfloat16"]),
        device_batch_size=whole,
    ),
)
studies = st.builds(
    Study.model_construct,
    config=configs,
    space=spaces(),
    study_path=st.just(Path("study.yaml")),
    space_path=st.just(Path("space.yaml")),
    overrides=st.lists(text, max_size=3).map(tuple),
)


def without_space(study: Study) -> StudyConfig:
    """The study's own settings; the search space is in one file with it or in another."""
    return study.config.model_copy(update={"search_space": "elsewhere"})


@settings(max_examples=50)
@given(studies)
def test_resolve_then_load_is_the_identity(tmp_path_factory: pytest.TempPathFactory, study: Study) -> None:
    path = tmp_path_factory.mktemp("resolved") / "study.resolved.yaml"
    path.write_bytes(study_as_yaml(study, path.parent).encode())
    again = load_study(path)
    assert again.space == study.space
    assert without_space(again) == without_space(study)


def test_the_resolved_quickstart_has_every_default_and_the_overrides_written_out(tmp_path: Path) -> None:
    written = study_as_yaml(load_study(QUICKSTART, ["focus.max_fid_loss=5%"]), tmp_path)
    document = yaml.safe_load(written)
    assert document["focus"] == {"latency_s": None, "max_fid_loss": 0.05}
    assert document["workers"]["device_batch_size"] == 64
    assert document["search_space"]["n_steps"] == 20
    assert '# with --set "focus.max_fid_loss=5%"' in written
    assert set(document) == set(StudyConfig.model_fields)


def test_a_key_that_was_removed_is_read_from_an_older_file_and_changes_nothing(tmp_path: Path) -> None:
    study = load_study(QUICKSTART)
    document = yaml.safe_load(study_as_yaml(study, tmp_path))
    older = tmp_path / "study.resolved.yaml"
    older.write_text(yaml.safe_dump({**document, "latency": {**document["latency"], "max_spread": 0.1}}))
    assert load_study(older).config.latency == study.config.latency


def test_paths_of_the_resolved_study_lead_to_the_same_files(tiny_family: Path, tmp_path: Path) -> None:
    study = load_study(tiny_family / "study.yaml", ["execution.vae=vae"])
    path = tmp_path / "deep" / "study.resolved.yaml"
    path.parent.mkdir()
    path.write_text(study_as_yaml(study, path.parent))
    again = load_study(path)
    weights = str(again.config.quality.extractor_weights)
    assert (path.parent / weights).samefile(tiny_family / "features.safetensors")
    assert (path.parent / str(again.config.execution.vae)).samefile(tiny_family / "vae")
    for denoiser in again.space.denoisers:
        assert (path.parent / denoiser.weights).samefile(tiny_family / denoiser.name)


def test_a_study_may_hold_its_space_and_be_overridden_there(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(study_as_yaml(load_study(QUICKSTART), tmp_path))
    assert load_study(path, ["space.n_steps=40"]).space.n_steps == 40


def test_a_mistake_in_an_inline_space_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(study_as_yaml(load_study(QUICKSTART), tmp_path).replace("n_steps: 20", "n_steps: 0"))
    with pytest.raises(ConfigError, match=r"study\.yaml:\d+: search_space\.n_steps: got 0, expected at least 1"):
        load_study(path)
