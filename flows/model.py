"""The base of every block of pipeline.yaml."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A frozen block; unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=False, populate_by_name=True
    )
