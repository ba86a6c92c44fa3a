"""The models that the diffusion flow can examine, as blocks of pipeline.yaml."""

from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeFloat, NonNegativeInt, model_validator
from typing_extensions import TypeAliasType

from flows.model import BlockError, Model

Precision = Literal["float32", "float16", "bfloat16"]
Sets = TypeAliasType("Sets", "dict[str, list[NonNegativeInt] | Sets]")


class DigitsModel(Model):
    """The model of 8x8 digits, trained once and kept in the store."""

    kind: Literal["digits"] = Field(description="kind of the model")
    steps: int = Field(default=8000, ge=1, description="training steps; 2000 do for tests")
    seed: int = Field(default=0, ge=0, description="seed of the training")
    dtype: Precision = Field(default="float32", description="what the network computes in")


class EmpiricalModel(Model):
    """Labelled data read as a mixture: no network."""

    kind: Literal["empirical"] = Field(description="kind of the model")
    bandwidth: float | None = Field(default=None, gt=0, description="none: 0.3 x rms of the data")
    reference_rows: str | None = Field(
        default=None,
        description="file of labelled samples to learn from; none: part of the source",
    )
    reference_share: float = Field(
        default=0.5, gt=0, lt=1, description="share of the rows that the model learns from"
    )


class MixtureModel(Model):
    """An exact Gaussian mixture."""

    kind: Literal["mixture"] = Field(description="kind of the model")
    weights: list[NonNegativeFloat] = Field(description="of each component")
    means: list[list[FiniteFloat]] = Field(description="of each component")
    cov: float | list[float] | list[list[list[float]]] = Field(
        description="variance of all components, of each, or the covariance matrix of each"
    )
    labels: list[NonNegativeInt] | None = Field(
        default=None, description="class of each component"
    )

    @model_validator(mode="after")
    def _check_components(self) -> "MixtureModel":
        n, d = len(self.weights), {len(mean) for mean in self.means}
        if not n or sum(self.weights) <= 0 or len(self.means) != n or len(d) != 1:
            raise BlockError(
                "means", f"{len(self.means)} means of lengths {sorted(d)} for {n} weights; give "
                "every component a weight, not all 0, and a mean of the same length"
            )  # fmt: skip
        if self.labels is not None and len(self.labels) != n:
            raise BlockError("labels", f"{len(self.labels)} labels for {n} components")
        return self


class Edm2Model(Model):
    """An EDM2 network, converted from its pickle; see docs/models.md."""

    kind: Literal["edm2"] = Field(description="kind of the model")
    path: str = Field(description="folder with edm2.safetensors and config.json")
    reference: str | None = Field(default=None, description="folder of the unconditional network")
    dtype: Precision = Field(default="float32", description="what the network computes in")


class StableDiffusionModel(Model):
    """Stable Diffusion 1.x in a folder of safetensors."""

    kind: Literal["stable_diffusion"] = Field(description="kind of the model")
    path: str = Field(description="folder written by save_pretrained")
    prompts: list[str] = Field(min_length=1, description="texts; their order gives the classes")
    dtype: Precision = Field(default="float32", description="what the network computes in")


class DitModel(Model):
    """A DiT in a folder of safetensors."""

    kind: Literal["dit"] = Field(description="kind of the model")
    path: str = Field(description="folder written by save_pretrained")
    dtype: Precision = Field(default="float32", description="what the network computes in")


class ModuleModel(Model):
    """A denoiser of your own; importing it runs its code."""

    kind: Literal["module"] = Field(description="kind of the model")
    name: str = Field(description="package.module:attribute")
    arguments: dict[str, str | int | float | bool] = Field(
        default={}, description="arguments of the attribute, if it makes the denoiser"
    )
    dtype: Precision = Field(default="float32", description="what the network computes in")


class TorchScriptModel(Model):
    """A TorchScript archive of forward(x_t, time, class)."""

    kind: Literal["torchscript"] = Field(description="kind of the model")
    path: str = Field(description="file of torch.jit.save")
    dim: list[int] = Field(description="shape of one sample")
    num_classes: int | None = Field(default=None, ge=1, description="number of classes")
    prediction: Literal["epsilon", "v", "x0", "velocity"] = Field(
        default="x0", description="what it returns"
    )
    process: Literal["ve", "vp", "cond_ot"] = Field(default="ve", description="its process")
    dtype: Precision = Field(default="float32", description="what the network computes in")


AnyDiffusionModel = Annotated[
    DigitsModel
    | EmpiricalModel
    | MixtureModel
    | Edm2Model
    | StableDiffusionModel
    | DitModel
    | ModuleModel
    | TorchScriptModel,
    Field(discriminator="kind"),
]


class Levels(Model):
    """Noise levels: an EDM grid."""

    n: int = Field(default=64, ge=3, description="number of levels; 32 to 64 do")
    sigma_min: float = Field(default=0.05, gt=0, description="least noise, data units")
    sigma_max: float = Field(default=40.0, gt=0, description="largest noise, data units")

    @model_validator(mode="after")
    def _check_order(self) -> "Levels":
        if self.sigma_min >= self.sigma_max:
            raise BlockError(
                "sigma_min", f"{self.sigma_min:g} is not below sigma_max {self.sigma_max:g}"
            )
        return self


def check_sets(name: str, sets: Sets) -> list[int]:
    """Return the classes of a question; refuse one with less than two sets, or a class twice."""
    parts = [check_sets(k, v) if isinstance(v, dict) else v for k, v in sets.items()]
    classes = [c for part in parts for c in part]
    if len(parts) < 2 or not all(parts) or len(set(classes)) < len(classes):
        raise BlockError(
            "partitions", f"`{name}` needs two sets or more, none of them empty, no class twice"
        )
    return classes
