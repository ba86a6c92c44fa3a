"""The base of every block of pipeline.yaml."""

from pydantic import BaseModel, ConfigDict


class BlockError(ValueError):
    """What a check of a whole block found, and the key below the block that is to be mended."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class Model(BaseModel):
    """A frozen block; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=False, populate_by_name=True
    )
