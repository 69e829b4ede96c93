"""Parts 1 and 6: the tests marked `gpu`, in a process of their own."""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from benchmarks.gpu_evidence.record import Part

ROOT = Path(__file__).parents[2]


def estimate(reduced: bool) -> dict[str, Any]:
    """No work of the device to speak of: models of a few thousand weights."""
    how = "imports of torch, diffusers and CUDA's start take most of it: about 20 s on one machine with 2 cores"
    return {"floor_s": 0.0, "expected_s": 30.0, "how": how}


def run(part: Part, reduced: bool) -> None:
    """What is claimed of clocks, memory and images."""
    run_tests(part, "tests/gpu/test_device_claims.py", "tests/measure/test_memory.py")


def run_of_weights(part: Part, reduced: bool) -> None:
    """Members that are brought in block by block, or quantised."""
    run_tests(part, "tests/gpu/test_weights_that_come_and_go.py")


def run_tests(part: Part, *files: str) -> None:
    """Every test's name, outcome and seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-W", "default", "-p", "no:cacheprovider"]
        found = subprocess.run(
            [*command, "--tb=short", f"--junitxml={report}", *files],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            capture_output=True,
            text=True,
            timeout=part.left_s - 1,
        )
        part.facts(exit_code=found.returncode, said=found.stdout[-4000:], complained=found.stderr[-1000:])
        if not report.exists():
            raise RuntimeError(f"pytest wrote no report: {found.stdout[-500:]} {found.stderr[-500:]}")
        for case in ET.parse(report).iter("testcase"):
            part.row("test", **_outcome(case))
    part.facts(summary=found.stdout.strip().splitlines()[-1])
    if found.returncode != 0:
        raise RuntimeError(f"tests failed: {found.stdout[-3000:]}")


def _outcome(case: ET.Element) -> dict[str, Any]:
    problem = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    said = {} if problem is None else {"message": (problem.get("message") or "")[:1500]}
    measured = {p.get("name"): p.get("value") for p in case.iter("property")}
    return {
        "name": case.get("name"),
        "outcome": "passed" if problem is None else {"failure": "failed"}.get(problem.tag, problem.tag),
        "seconds": float(case.get("time", 0)),
        **({"measured": measured} if measured else {}),
        **said,
    }
