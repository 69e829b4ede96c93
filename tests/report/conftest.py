"""A small run folder, written with the package's own ledger and table: times add up, FIDs are made up."""

import shutil
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tstitch_search.allocation import Allocation
from tstitch_search.ledger import Ledger
from tstitch_search.lookup import Candidate, LookupEntry, MetricValue, OperatingPoint, PointTime, build_table

STEP_S = {"S": 0.0041, "B": 0.0122, "XL": 0.0307}
FIXED_S = 0.061
WEAKNESS = {"S": 24.0, "B": 9.0, "XL": 0.0}
SEARCHED = (
    "S*20 B*20 XL*20 S*8-XL*12 S*10-B*10 S*4-XL*16 S*12-XL*8 S*14-XL*6 S*6-B*6-XL*8 S*4-B*4-XL*12 B*10-XL*10 B*4-XL*16 "
    "S*10-B*4-XL*6 S*16-B*4 S*2-XL*18 S*6-XL*14 XL*4-B*16"
)
CONFIRMED = "S*20 S*14-XL*6 S*12-XL*8 S*8-XL*12 S*4-XL*16 B*20 XL*20 XL*4-B*16"  # the last one is beaten by S*12-XL*8
WEIGHTS_MB = {"S": 1.7, "B": 7.4, "XL": 127.6}
GROUPS = {"S*20": 1, "B*20": 2, "S*14-XL*6": 2, "S*12-XL*8": 3, "S*8-XL*12": 4, "S*4-XL*16": 4, "XL*20": 4}
POINTS = (
    OperatingPoint("default", "cpu (2 threads)", 16),
    OperatingPoint("single", "cpu (2 threads)", 1),
    OperatingPoint("gpu", "NVIDIA H200", 64),
)


def predicted_s(allocation: Allocation) -> float:
    return FIXED_S + sum(n * STEP_S[name] for name, n in allocation.steps.items())


def fid(allocation: Allocation, n_images: int) -> float:
    """Weak denoisers hurt more the later they act; few images raise every FID."""
    hurt = sum(WEAKNESS[name] * ((i + 0.5) / allocation.n_steps) ** 3 * 4 for i, name in enumerate(allocation.by_step))
    return 13 + hurt / allocation.n_steps + 3000 / n_images


def confirmed(text: str, n_images: int = 500) -> LookupEntry:
    allocation, largest = Allocation.parse(text), Allocation.parse("XL*20")
    difference = fid(allocation, n_images) - fid(largest, n_images)
    return LookupEntry(
        allocation=allocation,
        latency_s=predicted_s(allocation) * (1 + 0.004 * len(text) - 0.03),
        latency_s_predicted=predicted_s(allocation),
        latency_s_se=0.0031,
        quality=fid(allocation, n_images),
        quality_se=0.42,
        n_images=n_images,
        peak_memory_mb=830.0 + 10 * len(allocation.segments),
        extra_weights_mb=sum(WEIGHTS_MB[name] for name in allocation.steps) - WEIGHTS_MB["XL"],
        quality_difference=difference,
        quality_difference_se=0.12 if difference else 0.0,
        lossless=difference + 1.645 * 0.12 < 0.02 * fid(largest, n_images),
        guard_lost=difference > 8,
        confirmed=True,
        metrics={
            "kid": MetricValue(value=0.002 * difference + 0.0123, se=0.0004),
            "guard": MetricValue(value=9.1 - difference / 9, se=0.05, difference=-difference / 9, difference_se=0.03),
        },
        latency_by_point={
            "single": PointTime(latency_s=predicted_s(allocation) / 12, latency_s_se=0.0007, peak_memory_mb=415.0),
            "gpu": PointTime(latency_s=predicted_s(allocation) / 40, latency_s_se=0.0002, peak_memory_mb=2345.0),
        },
    )


def searched(text: str, n_images: int = 100) -> Candidate:
    allocation = Allocation.parse(text)
    return Candidate(
        allocation=allocation,
        latency_s=None,
        latency_s_predicted=predicted_s(allocation),
        latency_s_se=None,
        quality=fid(allocation, n_images),
        quality_se=1.9,
        n_images=n_images,
        peak_memory_mb=None,
    )


PROVENANCE = {
    "denoisers": [
        {"name": "S", "weights": "zoo:fashion/S", "sha256": "3b1f" * 16, "n_parameters": 402_112},
        {"name": "B", "weights": "zoo:fashion/B", "sha256": "9c07" * 16, "n_parameters": 1_830_400},
        {"name": "XL", "weights": "zoo:fashion/XL", "sha256": "e2d4" * 16, "n_parameters": 6_911_232},
    ],
    "largest": "XL",
    "solver": "DDIMScheduler",
    "n_steps": 20,
    "guidance_scale": 1.5,
    "dtype": "float32",
    "resolution": 32,
    "extractor": "fashion-cnn",
    "reference": "zoo:fashion (60,000 training images)",
    "seed": 0,
    "environment": {"python": "3.11.7", "packages": {"torch": "2.15.0", "diffusers": "0.42.1"}},
    "lossless_margin": 0.02,
    "guard": {"metric": "inception_score", "tolerance": 0.05, "reference": "study"},
    "space_size": 66,
    "created_at": "2026-01-05T10:00:00+00:00",
}


@dataclass(frozen=True)
class RunFolder:
    """A finished run to report on."""

    path: Path
    entries: tuple[LookupEntry, ...]


def write_ledger(path: Path) -> None:
    with Ledger(path) as ledger:
        ledger.append("opened", study="fixture")
        for worker in ("worker-0", "worker-1"):
            ledger.append("loaded", worker=worker, device="cpu", load_s={"S": 0.2, "B": 0.4, "XL": 0.9})
        ledger.append(
            "calibration",
            step_s=STEP_S,
            step_se={name: seconds / 40 for name, seconds in STEP_S.items()},
            switch_s={name: seconds / 20 for name, seconds in STEP_S.items()},
            switch_se={name: seconds / 40 for name, seconds in STEP_S.items()},
            fixed_s=FIXED_S,
            fixed_se=0.002,
            spread=0.03,
            peak_memory_mb=812.0,
            member_memory_mb={"S": 611.0, "B": 633.0, "XL": 777.0},
            weights_mb=WEIGHTS_MB,
            device="cpu (2 threads)",
            batch_size=16,
            n_repeats=5,
        )
        for number, text in enumerate(SEARCHED.split()):
            _chunk(ledger, "search", text, n_images=100)
            trial = {
                "number": number,
                "allocation": text,
                "state": "COMPLETE",
                "latency_s": predicted_s(Allocation.parse(text)),
            }
            ledger.append("trial", **trial, quality=fid(Allocation.parse(text), 100), quality_se=1.9, n_images=100)
        ledger.append(
            "failed", set="search", allocation="B*2-XL*18", first=0, last=50, error="worker died", worker="worker-1"
        )
        ledger.append("trial", number=99, allocation="B*2-XL*18", state="FAIL")
        for text in CONFIRMED.split():
            _chunk(ledger, "confirm", text, n_images=500)
            ledger.append(
                "timing", allocation=text, seconds=[0.2, 0.21, 0.2], predicted_s=[0.2] * 3, peak_memory_mb=830.0
            )
        ledger.append("finished")


def _chunk(ledger: Ledger, set_name: str, allocation: str, n_images: int) -> None:
    for first in range(0, n_images, 100):
        seconds = 100 / 16 * predicted_s(Allocation.parse(allocation))
        made = {"set": set_name, "allocation": allocation, "first": first, "last": first + 100, "seconds": seconds}
        ledger.append(
            "chunk", **made, file=f"{allocation}.{first}.npy", sha256="0" * 64, worker=f"worker-{first // 100 % 2}"
        )


def png_strip(hue: int, n_images: int = 10, side: int = 32) -> bytes:
    """A PNG of `n_images` squares side by side, RGB, shaded by `hue`."""
    width = n_images * side
    rows = [
        bytes(v for x in range(width) for v in ((x * 7 + hue) % 256, (y * 8) % 256, (x // side) * 25))
        for y in range(side)
    ]
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))

    def block(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + block(b"IHDR", header) + block(b"IDAT", pixels) + block(b"IEND", b"")


def write_run(path: Path, study: str = "fixture") -> RunFolder:
    """Write a finished run into `path`."""
    texts = CONFIRMED.split()
    others = [searched(text) for text in SEARCHED.split() if text not in texts]
    table = build_table(study, POINTS, [confirmed(text) for text in texts], others, PROVENANCE)
    table = replace(table, entries=tuple(replace(e, group=GROUPS[str(e.allocation)]) for e in table.entries))
    table.write(path / "lookup.json")
    write_ledger(path / "ledger.jsonl")
    (path / "images").mkdir()
    for i, entry in enumerate(table.entries[:-1]):  # the last one's strip is missing
        (path / "images" / f"{entry.allocation.file_name}.png").write_bytes(png_strip(hue=40 * i))
    return RunFolder(path, table.entries)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run, shared by tests that only read it."""
    return write_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def own_run(run_folder, tmp_path: Path) -> Path:
    """A copy of the run folder that a test may change."""
    return Path(shutil.copytree(run_folder.path, tmp_path / "run"))
