"""Makes retrieval/data/vectors.safetensors, the vectors of the bundled films, by the bundled encoder.

Run it (``python -m tools.vectors``) after a change of films.jsonl, of `retrieval.encoder.item_text` or of the encoder;
a test fails until then. Texts that have not changed keep their vectors, so a small edit takes seconds; delete the file
to encode every film.
"""

from __future__ import annotations

import numpy as np

from assistant.cli.output import progress_bars
from retrieval.bundled import VECTORS_PATH, bundled_items, write_vectors
from retrieval.encoder import Progress, TextEncoder, item_text
from retrieval.upkeep import stamp, text_vectors


def make(progress: Progress | None = None) -> int:
    """Writes the file; says how many films it holds."""
    encoder = TextEncoder()
    texts = [item_text(film) for film in bundled_items()]
    stamps = np.array([stamp(text) for text in texts], dtype=np.uint64)
    write_vectors(text_vectors(texts, stamps, encoder, progress), stamps, encoder.digest)
    return len(texts)


def main() -> None:
    """Makes the file and says how large it is."""
    with progress_bars() as (_, progress):
        count = make(progress)
    print(f"{VECTORS_PATH.name} holds {count} films in {VECTORS_PATH.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
