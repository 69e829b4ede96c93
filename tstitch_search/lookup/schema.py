"""The JSON Schema of `lookup.json`, for readers in other languages; docs/lookup.md says what is promised."""

from typing import Any

from tstitch_search.lookup.table import SCHEMA_VERSION

Json = dict[str, Any]

# The objectives whose names can be keys of a measurement (`fid`, `fid_se`, `fid_difference`, `fid_difference_se`).
OBJECTIVES = (
    "fid",
    "fd_dinov2",
    "kid",
    "cmmd",
    "inception_score",
    "precision",
    "recall",
    "clip_score",
    "pick_score",
    "hps_v2",
    "psnr",
    "ssim",
    "perceptual",
    "lpips",
    "dino_distance",
    "clip_distance",
    "temporal_consistency",
)

TEXT: Json = {"type": "string"}
FLAG: Json = {"type": "boolean"}
NUMBER: Json = {"type": "number"}
POSITIVE: Json = {"type": "number", "minimum": 0}
COUNT: Json = {"type": "integer", "minimum": 1}


def lookup_schema() -> Json:
    """The schema (2020-12) of this version's tables; what `LookupTable` reads, it accepts."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "tstitch-search lookup table",
        "description": "The confirmed Pareto front of time against quality; fields not named here may be ignored.",
        **_object(
            schema_version={"type": "integer", "minimum": 1, "maximum": SCHEMA_VERSION},
            study=TEXT,
            operating_points=_list(_object(id=TEXT, device=TEXT, batch_size=COUNT), "The first is that of latency_s."),
            entries=_list(_measured(timed=True), "The front: each slower than the one before, and better."),
            candidates={"type": "array", "items": _measured(timed=False), "description": "All else that was measured."},
            provenance={"type": "object", "description": "Where the numbers are from; for people and comparisons."},
            optional={"objective": _object(name=TEXT, label=TEXT, higher_is_better=FLAG)},
        ),
        "allOf": [_if_objective(name) for name in OBJECTIVES],
    }


def _measured(timed: bool) -> Json:
    """One allocation; an entry is timed, a candidate need not be."""
    time = POSITIVE if timed else _or_null(POSITIVE)
    return _object(
        allocation={
            **TEXT,
            "description": "S*8-XL*12: segments DENOISER*STEPS from the noise end, equal ones merged; @PROFILE.",
        },
        steps={"type": "object", "additionalProperties": COUNT, "description": "Steps of each denoiser."},
        fractions={"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1}},
        latency_s={**time, "description": "Seconds of one batch, from noise to decoded images, measured."},
        latency_s_predicted={**POSITIVE, "description": "The same, from the calibration of single steps."},
        latency_s_se={**time, "description": "Standard error of latency_s."},
        n_images={**COUNT, "description": "Number of images of the quality; values at different n do not compare."},
        peak_memory_mb=_or_null(POSITIVE),
        optional={
            "extra_weights_mb": _or_null(NUMBER),
            "lossless": {**FLAG, "description": "Shown, with 95 % confidence, to lose less than the margin."},
            "guard_lost": FLAG,
            "confirmed": {**FLAG, "description": "Measured on images that the search never saw."},
            "group": _or_null(COUNT),
            "quantiles": _quantiles(),
            "metrics": {"type": "object", "additionalProperties": _metric()},
            "latency_by_point": {"type": "object", "additionalProperties": _time_at_point()},
            "by_group": {
                "type": "object",
                "additionalProperties": _group(),
                "description": "The metrics of the images of one group (a category of prompts, a class) alone.",
            },
            "profile": {
                **TEXT,
                "description": "The sampling profile by which its steps lie; absent: the pipeline's own.",
            },
            "timesteps": _list(NUMBER, "The timestep at which each step begins, from the noise end."),
            "sigmas": _list(NUMBER, "The noise level there, relative to the signal."),
        },
    )


def _metric() -> Json:
    optional = {"se": _or_null(POSITIVE), "difference": _or_null(NUMBER), "difference_se": _or_null(POSITIVE)}
    return _object(value=NUMBER, optional={**optional, "quantiles": _quantiles()})


def _quantiles() -> Json:
    said = "Of the values of single images: by the share of images that is no larger (0.05, 0.5, 0.95), the value."
    return {"type": "object", "additionalProperties": NUMBER, "description": said}


def _group() -> Json:
    metrics = {"type": "object", "additionalProperties": _metric(), "description": "By name, the objective too."}
    return _object(n_images=COUNT, metrics=metrics, optional={"lossless": FLAG})


def _time_at_point() -> Json:
    return _object(latency_s=POSITIVE, latency_s_se=POSITIVE, optional={"peak_memory_mb": _or_null(POSITIVE)})


def _if_objective(name: str) -> Json:
    """Measurements carry the quality under the objective's name; a table that names none is about FID."""
    is_it: Json = {"properties": {"objective": {"properties": {"name": {"const": name}}}}}
    values = {name: NUMBER, f"{name}_se": POSITIVE}
    differences = {f"{name}_difference": _or_null(NUMBER), f"{name}_difference_se": _or_null(POSITIVE)}
    items = {"items": _object(optional=differences, **values)}
    then = {"properties": {"entries": items, "candidates": items}}
    return {"if": is_it if name == "fid" else {**is_it, "required": ["objective"]}, "then": then}


def _object(optional: Json | None = None, **required: Json) -> Json:
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def _list(items: Json, description: str) -> Json:
    return {"type": "array", "items": items, "minItems": 1, "description": description}


def _or_null(schema: Json) -> Json:
    return {**schema, "type": [schema["type"], "null"]}
