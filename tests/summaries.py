"""Summaries of jobs of one model, read."""

import json


def only_model(text: str) -> dict[str, object]:
    """Return what a summary says of its only model, and of the whole job."""
    job = json.loads(text)
    (model,) = job["models"]
    return {**job, **model}
