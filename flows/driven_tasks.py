"""Source blocks without a file: systems to drive, stated in pipeline.yaml itself.

Their content is their definition, so its hash is their input hash. Energies are in units of kT
and times in the system's own unit unless a field says otherwise: bare numbers, no units.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from flows.model import Model

KINDS: tuple[str, ...] = ("translate_trap", "carry_particle", "stiffen_trap", "erase_bit")


class DrivenTask(Model):
    """Fields that all systems share."""

    on_error: ClassVar[Literal["stop"]] = "stop"  # nothing is read, so nothing is set aside
    has_error: ClassVar[bool] = False  # whether there is an error to weigh
    mobility: float = Field(default=1.0, gt=0, description="1 / friction")
    kT: float = Field(default=1.0, gt=0, description="temperature, energy")  # noqa: N815

    def items(self, name: str, folder: Path) -> tuple[()]:
        """Return nothing: there is no file to read."""
        return ()

    def definition(self) -> dict[str, Any]:
        """Return the system as plain data: its kind and parameters."""
        return self.model_dump(exclude_none=True)

    @property
    def sha256(self) -> str:
        """Return the hash of the definition."""
        text = json.dumps(self.definition(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class TranslateTrap(DrivenTask):
    """Move a harmonic trap from 0 to a distance; underdamped if a mass is given."""

    kind: Literal["translate_trap"] = Field(description="kind of the source")
    distance: float = Field(default=1.0, description="where the trap ends")
    stiffness: float = Field(default=1.0, gt=0, description="of the trap, energy per area")
    mass: float | None = Field(default=None, gt=0, description="none: overdamped")


class CarryParticle(DrivenTask):
    """Bring a particle to a target with a trap that may end anywhere."""

    has_error: ClassVar[bool] = True
    kind: Literal["carry_particle"] = Field(description="kind of the source")
    target: float = Field(default=1.0, description="where the particle shall be on average")
    stiffness: float = Field(default=1.0, gt=0, description="of the trap, energy per area")


class StiffenTrap(DrivenTask):
    """Change the stiffness of a harmonic trap."""

    kind: Literal["stiffen_trap"] = Field(description="kind of the source")
    start: float = Field(default=1.0, gt=0, description="stiffness at the start")
    end: float = Field(default=2.0, gt=0, description="stiffness at the end")


class EraseBit(DrivenTask):
    """Bring a bit in a double well to the right well."""

    has_error: ClassVar[bool] = True
    kind: Literal["erase_bit"] = Field(description="kind of the source")
    barrier: float = Field(default=4.0, gt=0, description="between the wells, energy")
    goal: Literal["well", "law"] = Field(
        default="well", description="error: share of the wrong well, or distance to equilibrium"
    )


AnyDrivenTask = TranslateTrap | CarryParticle | StiffenTrap | EraseBit
