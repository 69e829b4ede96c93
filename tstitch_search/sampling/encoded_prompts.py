"""Prompts are encoded once: what a pipeline's own `encode_prompt` answers, kept by its arguments.

Answers have another form in every pipeline, and are not looked into. Batches are part of the arguments, so that an
answer is the same bits as without. Text encoders hold weights only while there is something to encode.
"""

import hashlib
import io
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from PIL import Image
from torch import nn

from tstitch_search.errors import EnvironmentProblem
from tstitch_search.files import make_folder, write_whole

# Part of the free disk that answers may fill.
DISK_SHARE = 0.5


class EncodedPrompts:
    """Stands where a pipeline's `encode_prompt` stood; without a `folder` it passes every call on.

    `saved_s`: seconds that answers took which were read and not made, less those of answers that were made.
    `n_expected`: how many answers are still to be kept; where the disk has no room for them all, none is.
    """

    def __init__(self, pipeline: Any, load: Callable[[], Mapping[str, Any]]):
        """`load()` brings the pipeline's text encoders by name, with their weights."""
        self.folder: Path | None = None
        self.saved_s = 0.0
        self.n_expected = 1
        self._encode, self._load = pipeline.encode_prompt, load
        parts = pipeline.components.items()
        self._encoders = {n: p for n, p in parts if n.startswith("text_encoder") and isinstance(p, nn.Module)}
        versions = (torch.__version__, diffusers.__version__, transformers.__version__)
        self._identity = f"{type(pipeline).__name__} {versions}"
        self._is_empty, self._is_afresh = False, False

    @property
    def encoders_mb(self) -> float:
        """Size of the text encoders' weights that are in memory, in MB (10^6 bytes)."""
        return sum(p.nbytes for encoder in self._encoders.values() for p in encoder.parameters()) / 1e6

    def __call__(self, *inputs: Any, **named_inputs: Any) -> Any:
        """What `encode_prompt` answers, read where it was answered before."""
        name = None if self.folder is None or self._is_afresh else self._name_of(inputs, named_inputs)
        if name is None:
            self._fill()
            return self._encode(*inputs, **named_inputs)
        assert self.folder is not None
        if (kept := _read(self.folder / name)) is not None:
            answer, seconds = kept
            self.saved_s += seconds
            return answer
        self._fill()
        started = time.perf_counter()
        answer = self._encode(*inputs, **named_inputs)
        n_bytes = len(_bytes_of(answer))  # waits for the device
        seconds = time.perf_counter() - started
        self.saved_s -= seconds
        self._keep(self.folder / name, _bytes_of({"answer": answer, "seconds": seconds}), n_bytes)
        return answer

    def _keep(self, path: Path, content: bytes, n_bytes: int) -> None:
        """Write the answer; keep none from now on where the disk has no room."""
        try:
            make_folder(path.parent)
            if n_bytes * self.n_expected > DISK_SHARE * shutil.disk_usage(path.parent).free:
                self.folder = None
            else:
                write_whole(path, content)
        except EnvironmentProblem:
            self.folder = None

    @contextmanager
    def afresh(self) -> Iterator[None]:
        """Meanwhile every prompt is encoded, as a deployed pipeline does it."""
        self._is_afresh = True
        self._fill()
        try:
            yield
        finally:
            self._is_afresh = False

    def leave(self) -> None:
        """Have the text encoders without weights until they are asked; they stay what a pipeline reads from them."""
        if self.folder is None:
            return
        for encoder in self._encoders.values():
            for parameter in encoder.parameters():
                parameter.data = parameter.data.new_empty(0)
        self._is_empty = True
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _fill(self) -> None:
        if not self._is_empty:
            return
        for name, full in self._load().items():
            for parameter, of_full in zip(self._encoders[name].parameters(), full.parameters(), strict=True):
                parameter.data = of_full.data
        self._is_empty = False

    def _name_of(self, inputs: tuple[Any, ...], named_inputs: Mapping[str, Any]) -> str | None:
        """The file of the answer; None where an argument has no content that is known."""
        kind = next((p for e in self._encoders.values() for p in e.parameters()), torch.empty(0))
        where = torch.cuda.get_device_name(kind.device) if kind.is_cuda else kind.device.type
        try:
            told = f"{self._identity} {kind.dtype} {where} {_told(inputs)} {_told(sorted(named_inputs.items()))}"
        except TypeError:
            return None
        return f"{hashlib.sha256(told.encode()).hexdigest()}.pt"


def _told(value: Any) -> str:
    """The content of an argument as text. Raises TypeError for one that is not known to have any."""
    match value:
        case torch.Tensor():
            content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
            return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()}"
        case Image.Image():
            return f"{value.mode} {value.size} {hashlib.sha256(value.tobytes()).hexdigest()}"
        case list() | tuple():
            return f"({', '.join(map(_told, value))})"
        case None | str() | bool() | int() | float() | torch.device() | torch.dtype():
            return repr(value)
    raise TypeError(type(value).__name__)


def _bytes_of(value: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


def _read(path: Path) -> tuple[Any, float] | None:
    """The answer and the seconds it took, on the device where it was; None when there is none, or it is damaged."""
    if not path.exists():
        return None
    try:
        kept = torch.load(path, weights_only=True)
        return kept["answer"], float(kept["seconds"])
    except Exception:  # whatever a damaged file makes torch raise: the prompt is encoded again
        return None
