"""The images of a study, and what was read from the files they are made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field

from tstitch_search.config.models.base import Model
from tstitch_search.config.quantities import Text, Whole


class GroupsConfig(Model):
    """Which image belongs to which group."""

    column: Text = Field(
        description="A column of the prompts file, for example category; without prompts: label, the class label."
    )


class ProxySetConfig(Model):
    """The images used while searching."""

    labels: Literal["balanced", "random"] | Text = Field(
        "balanced",
        description="balanced: every class equally often in each chunk; random: drawn per image; or a file, label i "
        "for image i in line i, those of the confirmation set after those of the search.",
    )
    prompts: Text | None = Field(
        None,
        description="Prompt i is for image i, first the search's, then the confirmation's: a .txt with one per line; a "
        ".csv, .tsv, .parquet or .jsonl with a column prompt or caption; or a .json: a list of prompts or of objects "
        "with one, or COCO captions.",
    )
    prompt_column: Text | None = Field(None, description="The column of the prompts, where it is called otherwise.")
    groups: GroupsConfig | None = Field(
        None,
        description="Every value of the table also for each group of images, as {column: category}; see "
        "docs/statistics.md.",
    )
    negative_prompt: str | None = Field(None, description="What no image shall show.")
    control_images: Text | None = Field(None, description="Folder of images; image i by name is for image i.")
    inputs: dict[str, Text] = Field(
        default_factory=dict,
        description="Further images that a pipeline is given, by the name of its argument, each a folder whose image i "
        "by name is for image i: {image: photos, mask_image: masks}.",
    )
    seed: Whole = Field(0, description="Image i of a set has its own seed, derived from this and i alone.", ge=0)
    chunk_size: Whole = Field(100, description="Images per unit of work.", ge=2)


@dataclass(frozen=True)
class ProxyFiles:
    """Entries of the `n_search` images of the proxy set, then of the confirmation set, and as many more as the files
    hold; None where there is no file.

    `categories`: what the study's column of groups, or else each prompt's set, says it is about; None where neither
    does. `sha256` holds (key, hash of the file) of the text files. `inputs`: images by the argument of the pipeline's
    call.
    """

    n_search: int = 0
    labels: tuple[int, ...] | None = None
    prompts: tuple[str, ...] | None = None
    categories: tuple[str | None, ...] | None = None
    control_images: tuple[Path, ...] | None = None
    sha256: tuple[tuple[str, str], ...] = ()
    inputs: tuple[tuple[str, tuple[Path, ...]], ...] = ()

    @property
    def n_entries(self) -> int | None:
        """How many images there are entries for; None where no file limits them."""
        lists = [self.labels, self.prompts, self.control_images, *(paths for _, paths in self.inputs)]
        return min((len(entries) for entries in lists if entries is not None), default=None)
