"""What the checks found in the inputs of a flow, counted by check: for `status`."""

import json
from typing import Any

from flows import catalogue
from storage.repository import Repository

EXAMPLE_LENGTH = 160  # of the detail that a line shows; the report has all of them


def count_findings(repo: Repository, flow: str) -> list[dict[str, Any]]:
    """Count what the checks found and did, with the first item as the example."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in catalogue.load(repo, flow).values():
        for name, count, action, detail in json.loads(entry.checks):
            first = {"item": entry.item, "detail": detail}
            row = {"flow": flow, "check": name, "action": action, "count": 0, "items": 0} | first
            row = found.setdefault((name, action), row)
            row["count"] += int(count)
            row["items"] += 1
    return list(found.values())


def finding_line(row: dict[str, Any]) -> str:
    """Return one row in words."""
    items = f"{row['items']:,} item{'s' * (row['items'] != 1)}"
    detail = row["detail"]
    if len(detail) > EXAMPLE_LENGTH:
        detail = detail[: EXAMPLE_LENGTH - 1] + "…"
    what = f"{row['flow']}: {row['count']:,} {row['check']} {row['action']} in {items}"
    return f"check      {what}; {row['item']}: {detail}"
