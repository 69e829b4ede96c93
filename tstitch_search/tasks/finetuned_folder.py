"""The folder of a member that is being trained on, or was: what it holds, and whether it is what was asked for."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tstitch_search.errors import ConfigError
from tstitch_search.files import make_folder, write_whole
from tstitch_search.members.weights import read_json

# Readers: `finetune` itself, and whoever wants to know where a folder of weights comes from.
RECORD = "finetune.json"
# Until the training is finished: its settings, and where latents and checkpoints are kept.
BEGUN, WORK = "finetune.begun.json", "training"


def open_finetuned(output: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record in `output`; None while the training is not finished, and then it may be begun or gone on with.

    Raises ConfigError when `output` holds something else, or what was made with other settings.
    """
    if (output / RECORD).exists():
        found = read_json(output / RECORD, "the fine-tuned member")
        _require_same(output, found.get("settings", {}), settings)
        _tidy(output)
        return found
    if (output / BEGUN).exists():
        _require_same(output, read_json(output / BEGUN, "the training under way"), settings)
    elif output.exists() and not _is_free(output):
        raise ConfigError(f"{output} holds something else than a fine-tuned member", hint="another --output")
    make_folder(output / WORK)
    write_whole(output / BEGUN, _as_text(settings))
    return None


def publish(output: Path, record: Mapping[str, Any]) -> None:
    """Move what was trained into its place, whole files only; the record comes last."""
    for file in sorted((output / WORK / "saved").iterdir()):
        file.replace(output / file.name)
    write_whole(output / RECORD, _as_text(record))
    _tidy(output)


def _is_free(output: Path) -> bool:
    """Whether nothing is in it but what a kill in the first moment leaves."""
    first, work = {WORK, f"{BEGUN}.partial"}, output / WORK
    is_work_empty = not work.exists() or (work.is_dir() and not any(work.iterdir()))
    return output.is_dir() and is_work_empty and {path.name for path in output.iterdir()} <= first


def _require_same(output: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Nothing, when weights that were made with `found` are those that `wanted` would give, wherever data moved."""
    names = [name for name in wanted if name not in ("data", "weights") and found.get(name) != wanted[name]]
    if names:
        lines = [f"  {name}: {found.get(name, 'absent')} there, {wanted[name]} now" for name in names]
        raise ConfigError(
            f"{output} was made with other settings:\n" + "\n".join(lines),
            hint="another --output, or the same settings",
        )


def _tidy(output: Path) -> None:
    shutil.rmtree(output / WORK, ignore_errors=True)
    (output / BEGUN).unlink(missing_ok=True)


def _as_text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
