"""`study_as_yaml` loses nothing: what it writes loads as the same study."""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tstitch_search.config.document import Place, parse_document
from tstitch_search.config.load import load_study, study_as_yaml
from tstitch_search.config.models import (
    ConfirmConfig,
    DenoiserConfig,
    ExecutionConfig,
    FocusConfig,
    LatencyConfig,
    ProxySetConfig,
    QualityConfig,
    SearchConfig,
    SpaceConfig,
    Study,
    StudyConfig,
    WorkersConfig,
)

QUICKSTART = Path(__file__).parents[2] / "studies" / "quickstart.yaml"

text = st.text(min_size=1, max_size=30)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_.+]{0,9}", fullmatch=True)
file_names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,9}", fullmatch=True)
whole = st.integers(3, 2**53)
images = st.integers(20, 1_000_000)
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
        QualityConfig, extractor=text, extractor_weights=st.none() | text, reference=text, n_images=images
    ),
    search=st.builds(
        SearchConfig,
        sampler=st.sampled_from(["enumerate", "random", "tpe", "nsga2"]),
        n_trials=st.none() | whole,
        device_seconds=st.none() | seconds,
        look_ahead=whole,
    ),
    confirm=st.builds(ConfirmConfig, n_images=images, max_entries=whole, lossless_margin=shares),
    latency=st.builds(
        LatencyConfig,
        batch_size=whole,
        n_repeats=whole,
        threads=st.none() | whole,
        max_spread=shares,
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
    Study,
    config=configs,
    space=spaces(),
    study_path=st.just(Path("study.yaml")),
    space_path=st.just(Path("space.yaml")),
    overrides=st.lists(text, max_size=3).map(tuple),
)


def read_back(written: str, like: Study) -> Study:
    """The study in a resolved document, with the paths of `like`."""
    document = parse_document(written, lambda line: Place(line, f"study.resolved.yaml:{line}")).value
    space, overrides = SpaceConfig.model_validate(document.pop("space")), tuple(document.pop("overrides"))
    config = StudyConfig.model_validate(document)
    return like.model_copy(update={"config": config, "space": space, "overrides": overrides})


@settings(deadline=None, max_examples=50)
@given(studies)
def test_resolve_then_load_is_the_identity(study: Study) -> None:
    assert read_back(study_as_yaml(study).encode().decode(), like=study) == study


def test_the_resolved_quickstart_has_every_default_and_the_overrides_written_out() -> None:
    study = load_study(QUICKSTART, ["focus.max_fid_loss=5%"])
    document = yaml.safe_load(study_as_yaml(study))
    assert document["focus"] == {"latency_s": None, "max_fid_loss": 0.05}
    assert document["workers"]["device_batch_size"] == study.config.workers.device_batch_size
    assert document["space"]["n_steps"] == 20
    assert document["overrides"] == ["focus.max_fid_loss=5%"]
    assert set(document) == {*StudyConfig.model_fields, "space", "overrides"}


def test_the_resolved_study_and_space_load_as_files_too(tmp_path: Path) -> None:
    study = load_study(QUICKSTART, ["space.n_steps=40"])
    document = yaml.safe_load(study_as_yaml(study))
    (tmp_path / "space.yaml").write_text(yaml.safe_dump(document.pop("space")))
    document.pop("overrides")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(document))
    again = load_study(tmp_path / "study.yaml", ["search_space=space.yaml"])
    assert again.space == study.space
    assert again.config.model_copy(update={"search_space": study.config.search_space}) == study.config
