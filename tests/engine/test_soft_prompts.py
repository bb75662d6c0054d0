"""Soft prompts: what is taken, and the tensor that vLLM is sent."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.torch import load_file

from assistant.engine.soft_prompts import MOST_TOKENS, Embeddings, joined
from assistant.errors import InvalidRequest, SottoError
from tests.engine.models import make_model

VOCABULARY, HIDDEN = 11, 4
TABLE = torch.arange(VOCABULARY * HIDDEN, dtype=torch.float32).reshape(VOCABULARY, HIDDEN).bfloat16()
EMBEDDINGS = Embeddings(TABLE)
NUMBERS = st.floats(-9, 9, width=32)
PROMPTS = npst.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(HIDDEN)), elements=NUMBERS)
IDS = st.lists(st.integers(0, VOCABULARY - 1), max_size=9)


def decoded(text: str) -> torch.Tensor:
    return torch.load(io.BytesIO(base64.b64decode(text, validate=True)), weights_only=True)


@given(PROMPTS, IDS)
def test_the_soft_prompt_stands_before_the_tokens_own_embeddings(soft_prompt, ids):
    sent = decoded(EMBEDDINGS.encoded(soft_prompt, ids))
    assert sent.dtype == torch.float32
    assert sent.shape == (len(soft_prompt) + len(ids), HIDDEN)
    np.testing.assert_array_equal(sent[: len(soft_prompt)].numpy(), soft_prompt)
    assert torch.equal(sent[len(soft_prompt) :], TABLE[ids].float())


@given(PROMPTS.filter(len))
def test_plain_numbers_become_the_soft_prompt_they_are(soft_prompt):
    np.testing.assert_array_equal(EMBEDDINGS.checked(soft_prompt.tolist()), soft_prompt)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], "rows of 4"),
        ([[1.0, 2.0]], "rows of 4"),
        ([[1.0] * 4, [1.0] * 3], "of one length"),
        ("text", "list of rows"),
        ({"a": 1}, "list of rows"),
        (None, "rows of 4"),
        ([[10**400] * 4], "list of rows"),
        ([[float("nan")] * 4], "finite"),
        ([[float("inf")] * 4], "finite"),
        ([[1e30] * 4], "norm"),
        ([[1e300] * 4], "norm"),
        ([[1.0] * 4] * (MOST_TOKENS + 1), f"1 to {MOST_TOKENS} rows"),
        (np.zeros((0, 4)), f"1 to {MOST_TOKENS} rows"),
        ([[[1.0] * 4]], "rows of 4"),
    ],
)
def test_anything_else_is_refused_with_the_reason(numbers, said):
    with pytest.raises(InvalidRequest, match=said) as refused:
        EMBEDDINGS.checked(numbers, "personal_prompt")
    assert refused.value.param == "personal_prompt"


@pytest.mark.parametrize("soft_prompt", [np.ones((2, 5), np.float32), np.full((1, 4), np.nan, np.float32), np.ones(4)])
def test_what_was_not_checked_is_not_sent(soft_prompt):
    with pytest.raises(ValueError, match="finite rows of 4"):
        EMBEDDINGS.encoded(soft_prompt, [1])


@pytest.mark.parametrize("ids", [[VOCABULARY], [-1]])
def test_ids_outside_the_vocabulary_are_not_looked_up(ids):
    with pytest.raises(ValueError, match="outside the vocabulary"):
        EMBEDDINGS.encoded(np.ones((1, 4), np.float32), ids)


def test_the_table_is_the_base_models_own(tmp_path: Path):
    folder = make_model(tmp_path / "model")
    table = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    sent = decoded(Embeddings.open(folder).encoded(np.zeros((0, 64), np.float32), [3, 1]))
    assert torch.equal(sent, table[[3, 1]].float())


def test_a_model_whose_embeddings_are_not_found_or_scaled_says_so(tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3_text"}))
    with pytest.raises(SottoError, match="gemma3_text take no soft prompts"):
        Embeddings.open(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SottoError, match="takes no soft prompts"):
        Embeddings.open(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(SottoError, match="cannot be read"):
        Embeddings.open(tmp_path)


def test_prompts_are_joined_in_order_and_none_is_none():
    one, two = np.zeros((2, 4), np.float32), np.ones((1, 4), np.float32)
    found = joined(one, None, two)
    assert found is not None
    np.testing.assert_array_equal(found, [[0] * 4, [0] * 4, [1] * 4])
    assert joined(None, None) is None
