"""Has one thread do at once what several ask for at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Together(Generic[Asked, Answer]):
    """``work`` for many callers: while it is done for some, what others ask for gathers, and is done in one go.

    ``work`` gives an answer for each thing asked, in their order, and never runs twice at once. Where it raises, all
    whom it worked for get the error.
    """

    def __init__(self, work: Callable[[list[Asked]], Sequence[Answer]]) -> None:
        self._work = work
        self._gathered: list[tuple[Asked, Future[Answer]]] = []
        self._gathering, self._working = threading.Lock(), threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        """The answer to ``asked``."""
        answer = Future[Answer]()
        with self._gathering:
            self._gathered.append((asked, answer))
        with self._working:
            # Whoever worked before may have answered it.
            if not answer.done():
                self._answer_all()
        return answer.result()

    def _answer_all(self) -> None:
        with self._gathering:
            taken, self._gathered = self._gathered, []
        try:
            answers = self._work([asked for asked, _ in taken])
        except BaseException as error:
            for _, waiting in taken:
                waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(taken, answers, strict=True):
            waiting.set_result(answer)
