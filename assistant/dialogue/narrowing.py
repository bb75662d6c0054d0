"""The schema of one message's edit: only what its evidence allows, and whatever is sure required."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assistant.dialogue.edit import Edit
from assistant.dialogue.evidence import Evidence
from assistant.dialogue.values import Choice


def narrowed(schema: dict[str, Any], evidence: Evidence) -> dict[str, Any]:
    """``schema`` without the acts, fields and values for which a message gives no evidence, and with what is sure."""
    gone = {name for name in ("years", "era", "count", "about", "clear") if not getattr(evidence, name)}
    properties = {name: value for name, value in schema["properties"].items() if name not in gone}
    properties["act"] = {"enum": list(evidence.acts)}
    if evidence.era:
        properties["era"] = {"enum": list(evidence.era)}
    for name in ("count", "about"):
        if options := getattr(evidence, name):
            properties[name] = {"enum": list(options)}
    if evidence.clear:
        properties["clear"] = {**properties["clear"], "items": {"enum": list(evidence.clear)}}
    if evidence.years:
        pairs = [[{"const": year} for year in pair] for pair in evidence.years]
        properties["years"] = {
            "anyOf": [{"type": "array", "prefixItems": pair, "items": False, "minItems": 2} for pair in pairs]
        }
    return _decided({**schema, "properties": properties}, evidence.choices)


def _decided(schema: dict[str, Any], choices: Mapping[str, Choice]) -> dict[str, Any]:
    """``schema`` with the fields of ``choices`` as they can be, and required where something of them is sure."""
    properties = dict(schema["properties"])
    required = {"act"}
    for name in choices.keys() & properties.keys():
        choice = choices[name]
        if not choice.values:
            del properties[name]
            continue
        if properties[name].get("type") == "array":
            properties[name] = _holding(properties[name], choice)
        if choice.sure or choice.needed:
            required.add(name)
    return {**schema, "properties": properties, "required": [name for name in properties if name in required]}


def _holding(schema: dict[str, Any], choice: Choice) -> dict[str, Any]:
    """The schema of an array that begins with what is sure in ``choice`` and goes on with what is open."""
    most = max(schema["maxItems"], len(choice.sure))
    room = most - len(choice.sure)
    rest: dict[str, Any] | bool = {"enum": list(choice.open)} if choice.open and room else False
    array = {"type": "array", "items": rest, "minItems": max(1, len(choice.sure)), "maxItems": most}
    if rest is False:
        array["maxItems"] = len(choice.sure)
    if choice.sure:
        array["prefixItems"] = [{"const": value} for value in choice.sure]
    return array


def insisting(schema: dict[str, Any], evidence: Evidence, edit: Edit) -> dict[str, Any] | None:
    """``schema`` of a wish that must hold what is `Evidence.outright`; None where ``edit`` leaves none of it out.

    It is not required from the first: a message that says it may be no wish, or name years beside.
    """
    if edit.act != "find":
        return None
    missed = [name for name in evidence.outright if not getattr(edit, name)]
    if "era" in missed and edit.years is not None:
        missed.remove("era")
    if not missed:
        return None
    kept = [
        name
        for name in schema["properties"]
        if name in missed
        or (name != "act" and name in schema["required"])
        or (name != "act" and getattr(edit, name, None))
    ]
    return {**schema, "properties": {**schema["properties"], "act": {"enum": ["find"]}}, "required": ["act", *kept]}
