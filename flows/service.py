"""Commands about where and when work runs: up, down, deploy, certs."""

from pathlib import Path
from typing import Annotated

import typer

from flows.compute import Compute
from flows.config import load
from flows.console import DEFAULT, ConfigOption, friendly, out


@friendly
def up(config: ConfigOption = DEFAULT) -> None:
    """Start a local server, its UI and workers; runs then start at once."""
    from flows.up import up as start

    compute = load(config).compute if Path(config).is_file() else Compute()
    now = start(compute)
    assert now.server is not None  # `up` starts both or raises
    assert now.dask is not None
    out.print(f"UI       {now.server.url.removesuffix('/api')}")
    out.print(f"workers  {now.dask.workers}, dashboard {now.dask.dashboard}")
    out.print("end them with: python -m flows down")


@friendly
def down() -> None:
    """End what `up` started."""
    from flows.up import down as stop

    ended = stop()
    out.print(f"ended   {' and '.join(ended)}" if ended else "nothing of `up` is running")


@friendly
def deploy(
    config: ConfigOption = DEFAULT,
    pool: Annotated[str, typer.Option(help="work pool: local, docker or kubernetes")] = "local",
) -> None:
    """Hand the schedules of prefect.yaml to a Prefect server."""
    from flows.deploy import deploy as hand_over

    pipeline = load(config)  # mistakes are told now, not every night
    flows = {*pipeline.flows.chosen(), *(["monitor"] if pipeline.flows.monitor else [])}
    if pipeline.flows.chosen():
        flows.add("reprocess")
    # where a container finds the file is its own matter; here it must be found from any folder
    where = str(Path(config).resolve()) if pool == "local" else config
    for one in hand_over(pool, where, flows):
        out.print(f"{one.name:<34}{one.schedule:<18}{one.config}")
    out.print(f"start a worker for them: prefect worker start --pool {pool}")


@friendly
def certs(
    folder: Annotated[Path, typer.Argument(help="new folder, readable by you only")],
    days: Annotated[int, typer.Option(help="how long they are valid", min=1)] = 365,
) -> None:
    """Make certificates for encrypted connections to a Dask scheduler."""
    from flows.certs import make_certificates

    make_certificates(folder, days=days)
    out.print(f"certificates for scheduler, worker and client are in {folder}, valid {days} days")
    for role, rest in (("scheduler", "--protocol tls"), ("worker", "tls://HOST:8786")):
        out.print(
            f"dask {role} {rest} --tls-ca-file {folder}/ca.pem "
            f"--tls-cert {folder}/{role}.pem --tls-key {folder}/{role}.key"
        )
    out.print(f"compute: {{profile: address, address: tls://HOST:8786, tls: {folder}}}")
