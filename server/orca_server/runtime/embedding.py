"""Texts as vectors of their meaning: wordllama, whose weights are in its wheel.

Everything here computes and blocks: call it from a thread.
"""

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODEL = "wordllama l2_supercat 256"
"""Stored with each vector: those of two models cannot be compared."""
DIMENSIONS = 256

Vector = NDArray[np.float32]
_TEXT = "[" + ",".join(["%.5g"] * DIMENSIONS) + "]"


class Embedder:
    """The model, loaded when it is first needed."""

    def __init__(self) -> None:
        """Loads nothing yet."""
        self._lock = threading.Lock()
        self._model: Any = None

    def embed(self, texts: Sequence[str]) -> list[Vector]:
        """A vector of unit length for each text; zero for one without words."""
        # One by one: a batch is padded to its longest text, which may be a hundred times longer.
        vectors = self._loaded().embed(list(texts), norm=False, batch_size=1)
        return [_unit(vector) for vector in vectors]

    def embed_words(self, words: Sequence[str], weights: Sequence[float]) -> Vector:
        """The weighted mean of words, of unit length; zero without words."""
        if not words:
            return np.zeros(DIMENSIONS, np.float32)
        vectors = self._loaded().embed(list(words), norm=False)
        return _unit(np.asarray(weights, np.float32) @ vectors)

    def _loaded(self) -> Any:
        with self._lock:
            if self._model is None:
                self._model = _load()
            return self._model


def as_text(vector: Vector) -> str:
    """The vector as pgvector reads it."""
    return _TEXT % tuple(vector.tolist())


def _unit(vector: Vector) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector


def _load() -> Any:
    # Importing it sets up the process's logging, unless that was done before.
    silence = logging.NullHandler()
    logging.root.addHandler(silence)
    try:
        import wordllama
    finally:
        logging.root.removeHandler(silence)
    # Texts come one by one: to hand each to threads of its own takes longer than to read it.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    folder = Path(wordllama.__file__).parent
    return wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
