"""One conversation's worth of JSON, shown as the examples of the schema: what goes in and what comes out of each route.

A test holds each against the model it is an example of.
"""

from __future__ import annotations

from typing import Any

ERROR: dict[str, Any] = {
    "error": {
        "message": "There is no item 'nothing' in the catalogue. Ids come with each recommendation.",
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found",
    }
}

ITEM = {
    "id": "solaris-1972",
    "title": "Solaris",
    "original_title": "Солярис",
    "year": 1972,
    "kind": "film",
    "genres": ["drama", "science fiction"],
    "moods": ["slow", "thought-provoking"],
    "countries": ["soviet union"],
    "languages": ["russian"],
    "people": {"director": ["Andrei Tarkovsky"], "cast": ["Donatas Banionis", "Natalya Bondarchuk"]},
    "keywords": ["space station", "grief"],
    "description": "A psychologist is sent to a station above an ocean that answers its visitors' grief.",
    "popularity": 41.5,
    "image": None,
    "url": None,
    "attributes": {},
}
FOUND: dict[str, Any] = {"object": "list", "data": [{**ITEM, "score": 0.62}], "has_more": False}
FACETS: dict[str, Any] = {
    "object": "facets",
    "genres": ["drama", "science fiction"],
    "moods": ["slow", "thought-provoking"],
    "countries": ["soviet union"],
    "languages": ["russian"],
    "kinds": ["film"],
}
SIMILAR: dict[str, Any] = {"ids": ["alien-1979"], "year_to": 1978, "limit": 5}

WISH: dict[str, Any] = {"like": ["alien-1979"], "genres": ["science fiction"], "year_to": 1978, "count": 3}
GROUNDING = {
    "recommendations": [
        {
            "id": "solaris-1972",
            "title": "Solaris",
            "year": 1972,
            "rank": 1,
            "score": 0.61,
            "reason": "science fiction, 1972, like Alien (1979)",
        }
    ],
    "adapter": {"name": None, "release": None, "digest": None, "arm": "base"},
    "recommendation_id": "rec_8f1c5d0a6b3e4f7a9c2d1e0b",
    "wish": WISH,
}
WISHED: dict[str, Any] = {"wish": WISH, "exclude": ["stalker-1979"], "seed": 7}
RECOMMENDED: dict[str, Any] = {
    **GROUNDING,
    "relaxed": [],
    "usage": {"prompt_tokens": 1240, "completion_tokens": 1, "total_tokens": 1241},
}

RECEIPT = "rec_AQAAAAMBAgcBskwaq8XTWH4uYTWp1y2mB1xGv0nT3Q8bYk"
FEEDBACK: dict[str, Any] = {"recommendation_id": RECEIPT, "verdict": "accepted"}
FEEDBACK_TAKEN: dict[str, Any] = {**FEEDBACK, "before": "withdrawn"}
DIGEST = "9f2b6c1e0d4a8573b1c2d3e4f5a6978812ab34cd56ef7890a1b2c3d4e5f60718"
ROLLOUT_REQUEST: dict[str, Any] = {
    "release": DIGEST,
    "reason": "round 12: better for people with few ratings",
    "steps": [1, 10, 50, 100],
}
ROLLOUT: dict[str, Any] = {
    "id": 3,
    "release": DIGEST,
    "replaces": None,
    "state": "running",
    "step": 0,
    "steps": [1.0, 10.0, 50.0, 100.0],
    "share": 0.01,
    "manual": False,
    "shadow": False,
    "started_at": 1790000000.0,
    "step_at": 1790000000.0,
    "ended_at": None,
    "reason": None,
}

STATUS: dict[str, Any] = {
    "live": None,
    "rollout": ROLLOUT,
    "measures": [
        {
            "measure": "acceptance",
            "control": 0.31,
            "canary": 0.34,
            "harm": -0.03,
            "error": 0.02,
            "p_value": 1.0,
            "harmful": False,
        }
    ],
    "shadow": None,
    "turns": 212,
    "ready": [DIGEST],
    "faults": {},
}
AUDIT: list[Any] = [
    {
        "at": 1790000000.0,
        "who": "key 6f1c2a9b0d3e",
        "what": "start",
        "rollout": 3,
        "release": DIGEST,
        "why": "round 12: better for people with few ratings",
    }
]
REPLICA_REQUEST: dict[str, Any] = {"url": "http://10.0.0.2:8001", "reason": "a second GPU"}
REPLICAS: list[Any] = [
    {
        "url": "http://10.0.0.2:8001",
        "draining": False,
        "added_at": 1790000000.0,
        "up": True,
        "busy": 2,
        "releases": [DIGEST],
    }
]

CHAT: dict[str, Any] = {
    "model": "sotto",
    "messages": [{"role": "user", "content": "Something like Alien, but older than 1978."}],
    "stream": False,
}
COMPLETION = {
    "id": "chatcmpl-6f0c2a5b8d1e4f7aa0c3d6e9f2b5c8d1",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "sotto",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Try Solaris (1972). It is slow and thought-provoking.",
                "refusal": None,
                **GROUNDING,
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 812, "completion_tokens": 64, "total_tokens": 876},
    **GROUNDING,
}
_HEAD = (
    '{"id": "chatcmpl-6f0c", "object": "chat.completion.chunk", "created": 1790000000, "model": "sotto", "choices": '
)
STREAM = (
    f'data: {_HEAD}[{{"index": 0, "delta": {{"content": "Try Solaris (1972). "}}, "finish_reason": null}}]}}\n\n'
    f'data: {_HEAD}[{{"index": 0, "delta": {{}}, "finish_reason": "stop"}}]}}\n\n'
    "data: [DONE]\n\n"
)

MODEL = {"id": "sotto", "object": "model", "created": 1790000000, "owned_by": "sotto"}
MODELS = {"object": "list", "data": [MODEL]}
HEALTH: dict[str, Any] = {"status": "ok"}
READY: dict[str, Any] = {"status": "ready", "items": 1695}
UNREADY: dict[str, Any] = {
    "error": {
        "message": "Not ready: engine. It is starting, restarting or unreachable; engine.log in the logs folder says "
        "which.",
        "type": "server_error",
        "param": None,
        "code": "not_ready",
    },
    "missing": {"engine": "It is starting, restarting or unreachable; engine.log in the logs folder says which."},
}


METRICS = """\
# HELP sotto_turns_total Turns of conversation, by task and how they ended.
# TYPE sotto_turns_total counter
sotto_turns_total{ending="done",task="recommend"} 12.0
"""


def answers(example: Any, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that answers ``status`` with JSON like ``example``."""
    return {status: {"content": {"application/json": {"example": example}}}}
