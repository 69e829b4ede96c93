"""`of:` shares another denoiser's weights, and says only what differs."""

import yaml

from tstitch_search.config.models import SpaceConfig

SPACE = """\
name: space
family: dit
pipeline: zoo:fashion
denoisers:
  - {name: fast, of: XL-free, accelerator: taylorseer3}
  - {name: XL-free, of: XL, guidance_scale: 1}
  - {name: XL, weights: owner/name, subfolder: transformer, revision: v1}
  - {name: full, of: XL-free, guidance_scale: null}
n_steps: 20
"""


def test_what_is_not_said_is_taken_from_the_other_in_whatever_order_they_are_listed() -> None:
    fast, free, base, full = SpaceConfig.model_validate(yaml.safe_load(SPACE)).denoisers
    assert fast.source == free.source == base.source == full.source
    assert {"owner/name", "diffusers", "transformer", "v1"} < set(full.source)
    assert [d.guidance_scale for d in (fast, free, base, full)] == [1, 1, None, None]
    assert [d.accelerator for d in (fast, free, base, full)] == ["taylorseer3", None, None, None]
    assert [d.of for d in (fast, free, base, full)] == ["XL-free", "XL", None, "XL-free"]


def test_written_out_it_loads_as_the_same() -> None:
    space = SpaceConfig.model_validate(yaml.safe_load(SPACE))
    again = SpaceConfig.model_validate(space.model_dump(mode="json", by_alias=True))
    assert again == space
