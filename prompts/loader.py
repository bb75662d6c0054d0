"""Loads the prompts, one YAML file a task, as LangChain chat prompt templates.

A file holds ``task``, ``version``, ``system`` and ``user``. Templates are f-strings: values are put in
as they are and never read as templates themselves.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

import yaml
from langchain_core.prompts import ChatPromptTemplate

TASKS = ("understand", "rank", "respond")


class Prompt(NamedTuple):
    """A task's template and its version, which grows with every change of wording."""

    task: str
    version: int
    template: ChatPromptTemplate


@cache
def load(task: str) -> Prompt:
    """The prompt of ``task``, one of `TASKS`; ValueError for another name or a malformed file."""
    if task not in TASKS:
        raise ValueError(f"no prompt for task {task!r}; the tasks are {', '.join(TASKS)}")
    text = files("prompts").joinpath(f"{task}.yaml").read_text(encoding="utf-8")
    fields = yaml.safe_load(text)
    missing = {"task", "version", "system", "user"} - set(fields)
    if missing or fields["task"] != task:
        raise ValueError(f"prompts/{task}.yaml: wrong task name or missing {sorted(missing)}")
    template = ChatPromptTemplate([("system", fields["system"]), ("human", fields["user"])])
    return Prompt(task, int(fields["version"]), template)
