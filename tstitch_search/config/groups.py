"""Groups of a study's images, by a column of its prompts or by class label: how many there may be."""

from collections.abc import Iterable

from tstitch_search.config.models import ProxySetConfig
from tstitch_search.errors import ConfigError

# Groups with fewer images than this, on average, tell nothing; with more groups than that no table can be read.
FEWEST_ON_AVERAGE, MOST = 10, 100
LABEL = ("label", "labels")


def check_groups(
    config: ProxySetConfig, categories: Iterable[str | None], labels: Iterable[int], n_confirm: int
) -> None:
    """Nothing, when the study asks for no groups or for some that its confirmation set can tell something about.

    `categories` are those of its prompts, `labels` those that its images may have. Raises ConfigError, its message
    beginning with the key.
    """
    if config.groups is None:
        return
    column = config.groups.column
    if config.prompts is None and column.lower() not in LABEL:
        raise ConfigError(
            f"groups: got the column {column!r:.60}, but there are no proxy_set.prompts that could have it",
            hint="{column: label}: the class label",
        )
    n_groups = len(set(labels) if config.prompts is None else set(categories))
    if n_groups < 2:
        raise ConfigError(
            f"groups: {column!r:.60} is the same for all images of the confirmation, expected two groups at least",
            hint="another column, or leave groups out",
        )
    if n_groups > MOST or n_groups * FEWEST_ON_AVERAGE > n_confirm:
        raise ConfigError(
            f"groups: {column!r:.60} makes {n_groups} groups of {n_confirm} images, expected at most "
            f"{min(MOST, n_confirm // FEWEST_ON_AVERAGE)}: of {FEWEST_ON_AVERAGE} images or more on average",
            hint="a column with fewer values, or more images (confirm.n_images)",
        )
