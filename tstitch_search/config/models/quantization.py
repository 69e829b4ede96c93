"""Quantised weights under diffusers' names, with the settings of its BitsAndBytesConfig."""

from typing import Annotated, Literal

from pydantic import Field

from tstitch_search.config.models.base import Model, OneOf
from tstitch_search.config.quantities import Number


class FourBits(Model):
    """Weights in 4 bits (bitsandbytes)."""

    bnb_4bit_quant_type: Literal["fp4", "nf4"] | None = Field(None, description="Format of the 4 bits.")
    bnb_4bit_use_double_quant: bool | None = Field(None, description="Quantise the scales, too.")
    bnb_4bit_compute_dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        None, description="Number format of the arithmetic."
    )


class EightBits(Model):
    """Weights in 8 bits (bitsandbytes)."""

    llm_int8_threshold: Annotated[Number, Field(ge=0)] | None = Field(None, description="Outliers above stay 16 bits.")


class QuantizationConfig(OneOf):
    """One way to quantise, as `{bitsandbytes_4bit: {}}`."""

    bitsandbytes_4bit: FourBits | None = Field(None, description="4 bits for each weight.")
    bitsandbytes_8bit: EightBits | None = Field(None, description="8 bits for each weight.")
