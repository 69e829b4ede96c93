"""What every document of a study has in common."""

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator


class Model(BaseModel):
    """Frozen, and a misspelt key is an error. `removed`: keys of earlier versions, which run folders still name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    removed: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_removed(cls, given: Any) -> Any:
        if isinstance(given, dict) and cls.removed & given.keys():
            return {key: value for key, value in given.items() if key not in cls.removed}
        return given


class OneOf(Model):
    """A mapping with exactly one of its keys, which names a kind and gives that kind's settings."""

    @model_validator(mode="after")
    def _one_is_named(self) -> Self:
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            given = ", ".join(named) or "none; {} behind its name stands for its defaults"
            raise ValueError(f"got {given}, expected one of {', '.join(type(self).model_fields)}")
        return self

    @property
    def kind(self) -> str:
        """Which one it is."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def settings(self) -> dict[str, Any]:
        """What is said of it, by diffusers' names."""
        given: Model = getattr(self, self.kind)
        return given.model_dump(exclude_none=True)

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in self.settings.items())})"
