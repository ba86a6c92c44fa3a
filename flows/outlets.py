"""Where alerts go: a file of JSON lines, a webhook, Prefect events."""

from typing import Annotated, Literal

from pydantic import Field

from flows.model import Model


class FileOutlet(Model):
    """A file of JSON lines, one an alert."""

    kind: Literal["file"]
    path: str = Field(default="alerts.jsonl", description="file to append to")


class WebhookOutlet(Model):
    """A URL that takes one alert a POST, tried five times, then again at the next run."""

    kind: Literal["webhook"]
    url: str = Field(
        pattern=r"^(https?://|\$\{)",
        description="where to post; ${NAME} is taken from the environment",
    )
    secret_env: str = Field(
        default="", description="environment variable with the secret that signs the body"
    )


class EventOutlet(Model):
    """A Prefect event `irrev.alert` each, for automations."""

    kind: Literal["event"]


Outlet = Annotated[FileOutlet | WebhookOutlet | EventOutlet, Field(discriminator="kind")]
