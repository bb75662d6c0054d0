"""A text is of the class whose examples it is like."""

from __future__ import annotations

from assistant.dialogue.examples import Examples
from tests.retrieval.fakes import HashEncoder

BANK = {
    "animals": ["a black cat", "the old dog", "a cat and a dog"],
    "machines": ["a fast car", "the new engine", "a car with an engine", "an engine that stalls"],
}


def test_an_example_is_of_its_own_class_however_many_the_others_have() -> None:
    encoder = HashEncoder()
    examples = Examples(BANK, encoder)
    for name, texts in BANK.items():
        for vector in encoder.encode(texts):
            scores = examples.scores(vector)
            assert max(scores, key=lambda one: scores[one]) == name
