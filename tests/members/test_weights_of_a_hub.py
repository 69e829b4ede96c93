"""Of a hub's repository only the files of the weights that were asked for are fetched, over real HTTP to a stand-in."""

import json
import os
import subprocess
import sys
from pathlib import Path

from children import HANG_S
from hub_server import Hub, running_hub
from safetensors.torch import save_file
from text_to_image import new_unet

STORY = """
import json, sys
from pathlib import Path
from tstitch_search.config.models import DenoiserConfig
from tstitch_search.errors import TStitchError
from tstitch_search.members.facts import read_member_facts

for said in json.loads(sys.argv[1]):
    denoiser = DenoiserConfig(name="X", **said)
    try:
        print([read_member_facts(denoiser, Path("."), with_weights=w).n_parameters for w in (False, True)])
    except TStitchError as error:
        print(error.message)
"""
CONFIG = {"unet/config.json"}


def published(hub: Hub, folder: Path, *repositories: str) -> int:
    """Repositories of a U-Net in several forms, all alike; the number of its parameters."""
    model = new_unet(1, 4)
    for variant in (None, "non_ema"):
        model.save_pretrained(folder / "unet", variant=variant)
    model.save_pretrained(folder / "unet", variant="fp16", max_shard_size="10KB")
    for name in ("a", "b"):
        save_file(model.state_dict(), folder / f"{name}.safetensors")
    for file in (path for path in folder.rglob("*") if path.is_file()):
        hub.files |= {f"{name}/{file.relative_to(folder)}": file.read_bytes() for name in repositories}
    return sum(p.numel() for p in model.parameters())


def told(hub: Hub, home: Path, *said: dict[str, str]) -> list[str]:
    """What a Python of its own, whose hub that is, prints of these denoisers."""
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", STORY, json.dumps(said)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def fetched(home: Path, repository: str) -> set[str]:
    """The files of the repository that are on this machine."""
    (snapshot,) = (home / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots").iterdir()
    return {str(path.relative_to(snapshot)) for path in snapshot.rglob("*") if path.is_file()}


def test_only_the_files_that_were_asked_for_are_fetched(tmp_path: Path) -> None:
    single = {"weights": "me/single", "file": "b.safetensors", "format": "single_file", "config": "me/single"}
    with running_hub() as hub:
        n = published(hub, tmp_path / "net", "me/variant", "me/single", "me/plain")
        of_folders = [{"weights": f"me/{name}", "subfolder": "unet"} for name in ("variant", "plain", "plain")]
        of_folders[0]["variant"], of_folders[2]["variant"] = "fp16", "bf16"
        hub.files["me/pickled/unet/config.json"] = hub.files["me/plain/unet/config.json"]
        hub.files["me/pickled/unet/diffusion_pytorch_model.bin"] = b"PK"
        of_folders.append({"weights": "me/pickled", "subfolder": "unet"})
        *found, missing, pickled = told(hub, tmp_path, single, *of_folders)
    assert found == [f"[None, {n}]"] * 3
    assert "holds no variant 'bf16' of the weights, but plain ones, variant 'fp16', variant 'non_ema'" in missing
    assert "holds pickled weights only, diffusion_pytorch_model.bin" in pickled
    assert fetched(tmp_path, "me/single") == CONFIG | {"b.safetensors"}
    assert fetched(tmp_path, "me/plain") == CONFIG | {"unet/diffusion_pytorch_model.safetensors"}
    parts = fetched(tmp_path, "me/variant") - CONFIG
    assert len(parts) > 2  # and their index
    assert all(".fp16" in part for part in parts)
