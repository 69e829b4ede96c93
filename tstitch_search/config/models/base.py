"""What every document of a study has in common."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
