"""Puts the corpus together: films, tokenizer and real dialogue, from a run's work folder or made anew."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from transformers import AutoTokenizer

from assistant.evaluation.gold import gold_messages
from assistant.starter.corpus import Corpus, tokenizer_texts
from assistant.starter.dialogues import plain_texts, real_turns
from assistant.starter.tokenizer import train_tokenizer
from assistant.starter.world import invent_records, read_facts
from retrieval.bundled import bundled_items

VOCABULARY = 8192
MAX_REAL_TEXTS = 30_000


def prepare_corpus(
    work: Path, *, facts: Path | None, dialogues: Path | None, seed: int, start: Path | None = None
) -> Corpus:
    """The corpus of a run.

    The tokenizer is that of the model in the folder ``start``, or trained; it is kept in ``work/tokenizer``.
    """
    complete = list(bundled_items())
    films = complete + (list(invent_records(read_facts(facts), complete, seed)) if facts else [])
    folder = work / "tokenizer"
    if not folder.exists() and start is not None:
        AutoTokenizer.from_pretrained(start).save_pretrained(folder)
    elif not folder.exists():
        real = list(islice(plain_texts(dialogues), MAX_REAL_TEXTS)) if dialogues else []
        train_tokenizer(tokenizer_texts(films, seed, real), VOCABULARY).save_pretrained(folder)
    real_messages = list(real_turns(dialogues)) if dialogues else []
    return Corpus(AutoTokenizer.from_pretrained(folder), films, seed, real_messages, held_out=gold_messages())
