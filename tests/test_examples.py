"""The examples run as they stand."""

import http.client
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from children import HANG_S
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from PIL import Image
from typer.testing import CliRunner

from tstitch_search import LookupTable
from tstitch_search.cli import app

ROOT = Path(__file__).parent.parent
FAMILY = ROOT / "tstitch_search" / "zoo" / "fashion"
TABLE = ROOT / "reports" / "small-first-sample" / "lookup.json"
QUICKSTART = ROOT / "reports" / "quickstart-sample" / "lookup.json"


def run(example: str, *arguments: str, cwd: Path, table: Path = TABLE) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    command = [sys.executable, str(ROOT / "examples" / example), str(table), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=HANG_S)


@pytest.mark.slow
def test_a_table_entry_is_deployed_on_the_embedded_family(tmp_path: Path) -> None:
    done = run("deploy_zoo.py", cwd=tmp_path, table=QUICKSTART)
    assert done.returncode == 0, done.stderr
    entries = LookupTable.read(QUICKSTART).entries
    within_half = [entry for entry in entries if entry.latency_s <= entries[-1].latency_s / 2]
    assert done.stdout.split() == [str(entries[0].allocation), str(within_half[-1].allocation)]
    fast, good = (Image.open(tmp_path / name) for name in ("fast.png", "good.png"))
    assert fast.size == good.size == (320, 32)
    assert fast.tobytes() != good.tobytes()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the example server, which runs in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "examples" / "serve_by_budget.py"), str(TABLE), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path_factory.mktemp("server"), env=environment)
    try:
        wait_for(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(3000):  # a busy machine takes its time to import and to load
        assert process.poll() is None, "the server has ended"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def ask(address: str, query: str) -> tuple[int, str | None, bytes]:
    """Status, allocation and body of a request over a connection of its own."""
    connection = http.client.HTTPConnection(address, timeout=HANG_S)
    try:
        connection.request("GET", f"/?{query}")
        answer = connection.getresponse()
        return answer.status, answer.getheader("allocation"), answer.read()
    finally:
        connection.close()


@pytest.mark.slow
def test_eight_requests_at_once_get_the_bits_of_requests_one_by_one(server: str) -> None:
    entries = LookupTable.read(TABLE).entries
    budgets = [entry.latency_s for entry in entries[:4]] * 2
    queries = [f"label={k}&seed={k}&budget={budget}" for k, budget in enumerate(budgets)]
    one_by_one = [ask(server, query) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            assert list(pool.map(lambda query: ask(server, query), queries)) == one_by_one
    assert [name for _, name, _ in one_by_one] == [str(entry.allocation) for entry in entries[:4]] * 2
    images = {body for _, _, body in one_by_one}
    assert len(images) == 8
    assert {Image.open(io.BytesIO(body)).size for body in images} == {(32, 32)}


def test_a_request_that_no_entry_is_fast_enough_for_gets_the_fastest_and_a_wrong_one_an_explanation(
    server: str,
) -> None:
    fastest = LookupTable.read(TABLE).entries[0].allocation
    assert ask(server, "label=7&budget=0.000001")[:2] == (200, str(fastest))
    status, _, body = ask(server, "label=70&budget=1")
    assert (status, body) == (400, b"ask for /?label=7&seed=1&budget=0.2: label 70, expected 0 to 9\n")


def test_the_deployment_lines_of_the_readme_run_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    (lines,) = (block for block in blocks if "stitch(pipeline" in block)
    (tmp_path / "reports" / "quickstart").mkdir(parents=True)
    shutil.copy(ROOT / "reports" / "quickstart-sample" / "lookup.json", tmp_path / "reports" / "quickstart")
    monkeypatch.chdir(tmp_path)
    members = {name: DiTTransformer2DModel.from_pretrained(FAMILY / name) for name in ("B", "XL")}
    pipeline = DiTPipeline(
        transformer=members["XL"],
        vae=AutoencoderKL.from_pretrained(FAMILY / "vae"),
        scheduler=DDIMScheduler.from_pretrained(FAMILY / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    names = {"pipeline": pipeline, "base": members["B"], "large": members["XL"]}
    exec(lines, names)
    assert names["sneaker"].size == (32, 32)
    request = names["request"]
    asked = ["generate", "reports/quickstart", "-a", "B*20", "--labels", "7", "--seed", "0", "-o", "one.png"]
    ended = CliRunner().invoke(app, asked)
    assert ended.exit_code == 0, ended.output
    drawn = request([7], generator=torch.Generator().manual_seed(0)).images[0].convert("L")
    assert (np.asarray(drawn) == np.asarray(Image.open("one.png").convert("L"))).all()


def test_a_picture_of_the_command_line_is_made_again_in_a_pipeline_of_ones_own(tmp_path: Path) -> None:
    """As the docs say: image i of `--seed 5` has the noise of `torch.Generator().manual_seed(5 + i)`."""
    asked = ["generate", str(TABLE), "-a", "B*20", "--labels", "7,3", "--seed", "5", "-o", str(tmp_path / "two.png")]
    ended = CliRunner().invoke(app, asked)
    assert ended.exit_code == 0, ended.output
    drawn = np.asarray(Image.open(tmp_path / "two.png"))[..., 0]
    pipeline = DiTPipeline(
        transformer=DiTTransformer2DModel.from_pretrained(FAMILY / "B"),
        vae=AutoencoderKL.from_pretrained(FAMILY / "vae"),
        scheduler=DDIMScheduler.from_pretrained(FAMILY / "scheduler"),
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = [torch.Generator().manual_seed(5 + i) for i in range(2)]
    by_hand = pipeline([7, 3], guidance_scale=1, num_inference_steps=20, generator=noise).images
    assert (drawn == np.concatenate([np.asarray(image.convert("L")) for image in by_hand], axis=1)).all()


def test_edges_are_white_on_black_where_a_photograph_changes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    photo = Image.new("RGB", (90, 60), "white")
    photo.paste((200, 0, 0), (30, 0, 90, 60))
    photo.save(tmp_path / "photos" / "000042.jpg")
    command = [sys.executable, str(ROOT / "examples" / "edge_images.py"), "photos", "edges", "64"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=HANG_S)
    edges = Image.open(tmp_path / "edges" / "000042.png")
    row = [edges.getpixel((x, 32)) for x in range(64)]
    assert edges.size == (64, 64)
    assert set(row) == {0, 255}
    assert 2 <= row.count(255) <= 10
    assert abs(sum(x for x, level in enumerate(row) if level) / row.count(255) - 15.5) <= 4


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_no_example_is_left_untested(example: str) -> None:
    tested = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert example in tested
