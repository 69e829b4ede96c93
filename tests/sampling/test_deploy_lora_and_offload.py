"""What users do to a pipeline beside stitching it: LoRA on a member (peft), offloading (accelerate)."""

from typing import Any

import pytest
import torch
from sampling.test_deploy import draw, text_pipeline
from text_to_image import new_unet

from tstitch_search import stitch
from tstitch_search.errors import ConfigError
from tstitch_search.sampling.stitching.stitched_denoiser import StitchedDenoiser

# diffusers' solvers hand torch tensors to numpy the old way.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def new_members() -> dict[str, Any]:
    return {"S": new_unet(1, 4), "L": new_unet(2, 12)}


def lora_of(unet: Any) -> dict[str, torch.Tensor]:
    """Weights of a LoRA for this U-Net, as a file of one holds them."""
    from peft import LoraConfig, get_peft_model_state_dict

    torch.manual_seed(9)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, init_lora_weights=False, target_modules=["to_q", "to_v"]))
    return {f"unet.{name}": weights.clone() for name, weights in get_peft_model_state_dict(unet).items()}


@pytest.mark.parametrize("stitched_first", [True, False])
def test_a_lora_loaded_into_a_member_changes_that_member_and_can_be_taken_out(stitched_first: bool) -> None:
    pytest.importorskip("peft")
    with_lora = new_members()
    weights = lora_of(with_lora["S"])
    plain = {name: draw(text_pipeline(member)) for name, member in new_members().items()}
    changed = draw(text_pipeline(with_lora["S"]))
    assert not torch.equal(changed, plain["S"])
    members = new_members()
    pipeline = text_pipeline(members["L"])
    if stitched_first:
        stitch(pipeline, "S*4", members)
    members["S"].load_lora_adapter(weights, prefix="unet")
    assert torch.equal(draw(stitch(pipeline, "S*4", None if stitched_first else members)), changed)
    assert torch.equal(draw(stitch(pipeline, "L*4")), plain["L"])
    mixed = draw(stitch(pipeline, "S*2-L*2"))
    members["S"].unload_lora()
    assert not torch.equal(draw(pipeline), mixed)
    assert torch.equal(draw(stitch(pipeline, "S*4")), plain["S"])


def test_a_lora_that_the_pipeline_loaded_before_is_its_denoisers() -> None:
    pytest.importorskip("peft")
    with_lora = new_members()
    weights = lora_of(with_lora["L"])
    members = new_members()
    pipeline = text_pipeline(members["L"])
    pipeline.load_lora_weights(weights)
    assert torch.equal(draw(stitch(pipeline, "L*4", members)), draw(text_pipeline(with_lora["L"])))
    assert torch.equal(draw(stitch(pipeline, "S*4")), draw(text_pipeline(new_members()["S"])))


def test_a_lora_for_the_stitched_pipeline_is_refused_since_it_could_not_be_taken_out() -> None:
    pytest.importorskip("peft")
    members = new_members()
    pipeline = stitch(text_pipeline(members["L"]), "S*2-L*2", members)
    with pytest.raises(ConfigError, match="a LoRA changes one member") as caught:
        pipeline.load_lora_weights(lora_of(new_unet(2, 12)))
    assert "load_lora_adapter" in str(caught.value.hint)


@pytest.mark.parametrize("stitched_first", [True, False])
def test_an_offloaded_pipeline_makes_the_same_images_and_stays_offloaded(stitched_first: bool) -> None:
    """The device is the CPU: its hooks are those of a GPU, what they move is not. Denoisers move together."""
    accelerate = pytest.importorskip("accelerate")
    members = new_members()
    expected = draw(stitch(text_pipeline(members["L"]), "S*2-L*2", members))
    pipeline = text_pipeline(members["L"])
    if stitched_first:
        stitch(pipeline, "S*2-L*2", members).enable_model_cpu_offload(device="cpu")
    else:
        pipeline.enable_model_cpu_offload(device="cpu")
        stitch(pipeline, "S*2-L*2", members)
    for _ in range(2):
        assert torch.equal(draw(pipeline), expected)
        assert isinstance(pipeline.unet._hf_hook, accelerate.hooks.CpuOffload)
        assert [name for name, member in members.items() if hasattr(member, "_hf_hook")] == []
    assert torch.equal(draw(stitch(pipeline, "L*4")), draw(text_pipeline(new_members()["L"])))
    pipeline.remove_all_hooks()
    assert isinstance(pipeline.unet, StitchedDenoiser)
    assert torch.equal(draw(stitch(pipeline, "S*2-L*2")), expected)
