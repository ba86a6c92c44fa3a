"""pipeline.yaml -> frozen models; the only reader of YAML.

Unknown keys, wrong units and missing files are one-line errors with the key's path and the
nearest valid key. Every default equals the library's default.
"""

import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from flows import driven_tasks
from flows.blocks import Flows
from flows.compute import Compute
from flows.model import BlockError, Model
from flows.outlets import Outlet, WebhookOutlet
from flows.sources import Source
from irrev.errors import ConfigError
from storage.repository import StoreRef

NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


READ = ("spikes", "timeseries", "trajectories", "transcripts", "triplets", "samples", "spins")
KINDS = (*READ, *driven_tasks.KINDS)


def _known_store(url: str) -> str:
    if ("://" in url and not url.startswith(("s3://", "file://"))) or re.match(r"s3:/(?!/)", url):
        raise ValueError(f"{url} is no store; write a folder, s3://bucket/prefix or memory:NAME")
    return url


class Store(Model):
    """Where results are kept."""

    url: Annotated[str, AfterValidator(_known_store)] = Field(
        default="./results", min_length=1, description="folder, s3://bucket/prefix or memory:NAME"
    )
    branch: str = Field(default="main", description="branch that results are committed to")


class Report(Model):
    """The page."""

    path: str = Field(
        default="report/index.html", min_length=1, description="where the page is written"
    )


class Pipeline(Model):
    """What to run, on what, and where it lands."""

    version: Literal[1] = Field(default=1, description="version of this file's form")
    project: str = Field(min_length=1, description="name of the project, shown in the report")
    seed: int = Field(default=0, ge=0, description="one seed for everything; shards derive theirs")
    store: Store = Store()
    compute: Compute = Compute()
    sources: dict[str, Source] = Field(description="inputs by name")
    flows: Flows = Field(description="what to measure")
    report: Report = Report()
    alerts: list[Outlet] = Field(default=[], description="where the monitor sends alerts")
    folder: Path = Field(
        default=Path(), exclude=True, description="folder of the file: paths start here"
    )

    def store_ref(self) -> StoreRef:
        """Point to the store; a relative folder starts at the file's folder."""
        url = self.store.url
        if "://" not in url and not url.startswith("memory:"):
            url = str((self.folder / url).resolve())
        return StoreRef(url, self.store.branch)

    def on_branch(self, branch: str) -> "Pipeline":
        """Return the pipeline with its results on another branch; none: the same."""
        if not branch:
            return self
        return self.model_copy(update={"store": self.store.model_copy(update={"branch": branch})})

    def with_profile(self, profile: str) -> "Pipeline":
        """Return the pipeline with its work in another place; none: the same.

        Raises
        ------
        ConfigError
            If there is no such profile.
        """
        if not profile:
            return self
        data = {**self.compute.model_dump(mode="json"), "profile": profile}
        try:
            compute = Compute.model_validate(data)
        except ValidationError as error:
            line = _first_line(error, data)
            prefix = "--" if line.startswith("profile") else "compute."
            raise ConfigError(f"{prefix}{line}") from None
        return self.model_copy(update={"compute": compute})

    def place(self) -> Compute:
        """Return where work runs; a relative folder of certificates starts at the file's."""
        if self.compute.tls is None:
            return self.compute
        return self.compute.model_copy(update={"tls": str(self.folder / self.compute.tls)})

    def masked(self) -> "Pipeline":
        """Return the pipeline without the secrets that addresses may hold.

        User names and query strings are masked, and all of a webhook's address behind its host:
        services put a token there.
        """
        alerts = [
            a.model_copy(update={"url": re.sub(r"(://[^/]*/?).*", r"\1***", _masked(a.url))})
            if isinstance(a, WebhookOutlet) and "://" in a.url
            else a
            for a in self.alerts
        ]
        store = self.store.model_copy(update={"url": _masked(self.store.url)})
        return self.model_copy(update={"alerts": alerts, "store": store})

    def redacted(self) -> dict[str, Any]:
        """Return the file with all defaults as plain data, without secrets."""
        return yaml.safe_load(_masked(self.masked().model_dump_json(by_alias=True)))


def _masked(text: str) -> str:
    """Mask user names and query strings of all addresses in a text."""
    text = re.sub(r"://[^/@\"\s]+@", "://***@", text)
    return re.sub(r"(://[^\"?\s]*)\?[^\"\s]*", r"\1?***", text)


def load(path: str | Path = "pipeline.yaml") -> Pipeline:
    """Read and check a pipeline file.

    Raises
    ------
    ConfigError
        With the key's path, what is wrong, and the nearest valid key.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; name it with --config.")
    if not os.access(path, os.R_OK):
        raise ConfigError(f"{path}: this user may not read it; change its permissions.")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        return parse(_text_keys(data), path)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{path}: an alias contains itself; write the block out.") from None


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key may stand only once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            mark = key.start_mark
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"a key is a list or mapping, line {mark.line + 1}")
            if key.value in seen:
                raise yaml.YAMLError(f"key `{key.value}` stands twice, line {mark.line + 1}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _text_keys(data: Any) -> Any:
    """Turn the key `null`, which YAML reads as nothing, back into a word."""
    if isinstance(data, dict):
        return {"null" if k is None else k: _text_keys(v) for k, v in data.items()}
    return data


def secret(variable: str) -> str:
    """Return a secret from the environment, the only place for it; empty without a name.

    Raises
    ------
    ConfigError
        If a variable is named that is not set: nothing shall be sent unsigned by mistake.
    """
    if variable and not os.environ.get(variable):
        raise ConfigError(f"the environment variable {variable} is not set; set it to the secret.")
    return os.environ[variable] if variable else ""


def parse(data: Any, path: Path) -> Pipeline:
    """Check the content of a pipeline file that lies at `path`."""
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a mapping of keys was expected, found {type(data).__name__}.")
    try:
        pipeline = Pipeline.model_validate({**data, "folder": path.resolve().parent})
    except ValidationError as error:
        raise ConfigError(f"{path.name}: {_first_line(error, data)}") from None
    _check_names(pipeline, path)
    return pipeline


def _check_names(pipeline: Pipeline, path: Path) -> None:
    for name in pipeline.sources:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{path.name}: sources.{name}: a name has lower-case letters, digits, _ . and -."
            )
    blocks = pipeline.flows.chosen()
    if pipeline.flows.monitor:
        blocks["monitor"] = pipeline.flows.monitor
    if not blocks:
        known = ", ".join(type(pipeline.flows).model_fields)
        raise ConfigError(f"{path.name}: flows: nothing to measure; choose of {known}.")
    for flow, block in blocks.items():
        if len(set(block.sources)) < len(block.sources):
            raise ConfigError(f"{path.name}: flows.{flow}.sources: a source stands twice.")
        for name in block.sources:
            if name not in pipeline.sources:
                hint = _nearest(name, pipeline.sources)
                raise ConfigError(f"{path.name}: flows.{flow}.sources: no source `{name}`{hint}")
            kind = pipeline.sources[name].kind
            if kind not in block.kinds:
                raise ConfigError(
                    f"{path.name}: flows.{flow}.sources: `{name}` is of kind {kind}; "
                    f"this flow reads {' or '.join(block.kinds)}."
                )


def _first_line(error: ValidationError, data: Any) -> str:
    """Turn the first finding into `path: what; how to mend`."""
    details = error.errors()[0]
    keys = _keys_in_file(details, data)
    where = ".".join(map(str, keys))
    if details["type"] == "extra_forbidden":
        return f"{where} is not a key{_nearest(str(keys[-1]), _valid_keys(details, keys))}"
    if details["type"] in ("union_tag_not_found", "union_tag_invalid"):
        kinds = [
            k.strip(" '") for k in str(details.get("ctx", {}).get("expected_tags", "")).split(",")
        ]
        found = str(details.get("ctx", {}).get("tag", ""))
        what = f"`{found}` is no kind of {_noun(keys)}" if found else "kind is missing"
        return f"{where}.kind: {what}{_nearest(found, [k for k in kinds if k] or KINDS)}"
    message = details["msg"].removeprefix("Value error, ").removesuffix(".")
    message = message.removeprefix(f"{where.rpartition('.')[2]}: ")  # said already
    if message.startswith("Input should"):
        found = repr(details["input"])
        message = f"{message}, found {found if len(found) <= 60 else found[:57] + '...'}"
    problem = details.get("ctx", {}).get("error")
    if isinstance(problem, BlockError):
        where = ".".join(filter(None, (where, problem.key)))
    return f"{where}: {message[0].lower()}{message[1:]}."


def _noun(keys: list[int | str]) -> str:
    return "source" if keys[:1] == ["sources"] else str(keys[-1]) if keys else "block"


def _keys_in_file(details: ErrorDetails, data: Any) -> list[int | str]:
    """Return the path of a finding without pydantic's names of union members."""
    path, keys, here = details["loc"], [], data
    for key in path:
        try:
            here = here[key]
        except (KeyError, IndexError, TypeError):
            if details["type"] != "missing" or key != path[-1]:
                continue
        keys.append(key)
    return keys


def _valid_keys(details: ErrorDetails, keys: list[int | str]) -> list[str]:
    """Return the keys allowed where an unknown key was found."""
    models: list[type[BaseModel]] = [Pipeline]
    for key in keys[:-1]:
        models = [m for model in models for m in _children(model, str(key))] or models
    tags = {str(key) for key in details["loc"]}
    models = [model for model in models if tags & _kinds_of(model)] or models
    return sorted({name for model in models for name in model.model_fields if name != "folder"})


def _kinds_of(model: type[BaseModel]) -> set[str]:
    """Return the values of `kind` by which a member of a union is chosen."""
    kind = model.model_fields.get("kind")
    return set() if kind is None else {str(value) for value in get_args(kind.annotation)}


def _children(model: type[BaseModel], key: str) -> Iterator[type[BaseModel]]:
    field = model.model_fields.get(key)
    if field is not None:
        yield from models_in(field.annotation)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models named in a type: `A | B`, `dict[str, A]`, `Annotated[A, ...]`."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType, Annotated, dict, list, tuple):
        for argument in get_args(annotation):
            yield from models_in(argument)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation


def _nearest(word: str, valid: Any) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.5)
    if near:
        return f"; did you mean `{near[0]}`?"
    return f"; valid are: {', '.join(valid)}."
