"""Which topic model the answers of a source are scored under: looked up, never fitted here."""

import hashlib
import json
from typing import Any

from irrev.semantic.sentences import SPLITTER
from storage.layout import TOPICS
from storage.repository import Repository


def topics_settings(config: dict[str, Any]) -> str:
    """Return a hash of all that decides a fit of topics besides the texts."""
    settings = {k: v for k, v in config["topics"].items() if k != "model"}
    text = json.dumps([settings, config["encoder"], config["reading"], SPLITTER], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def fitted_topics(repo: Repository | None, source: str, config: dict[str, Any]) -> dict[str, Any]:
    """Name the topic model of a source in the store; an empty id says that none is fitted yet."""
    if config["topics"]["model"]:
        return {}
    settings, group = topics_settings(config), f"{TOPICS}/{source}"
    attrs = repo.read(group).attrs if repo is not None and repo.has(group) else {}
    known = str(attrs["topic_model_id"]) if attrs.get("settings") == settings else ""
    return {"topic_settings": settings, "topic_model_id": known}
