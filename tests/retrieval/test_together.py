from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from retrieval.together import Together


def test_what_is_asked_meanwhile_is_done_in_one_go() -> None:
    goes: list[list[int]] = []
    begun, others_wait = threading.Event(), threading.Event()

    def doubled(numbers: list[int]) -> list[int]:
        goes.append(numbers)
        begun.set()
        assert others_wait.wait(30)
        return [2 * number for number in numbers]

    together = Together(doubled)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(together, 0)
        assert begun.wait(30)
        others = [pool.submit(together, number) for number in range(1, 9)]
        while len(together._gathered) < len(others):
            threading.Event().wait(0.001)
        others_wait.set()
        assert [first.result(), *(one.result() for one in others)] == [2 * number for number in range(9)]
    assert [sorted(go) for go in goes] == [[0], list(range(1, 9))]


def test_an_error_reaches_everybody_it_concerns_and_nobody_else() -> None:
    def halved(numbers: list[int]) -> list[int]:
        if any(number % 2 for number in numbers):
            raise ValueError(f"{numbers} are not all even")
        return [number // 2 for number in numbers]

    together = Together(halved)
    with pytest.raises(ValueError, match="not all even"):
        together(3)
    assert together(4) == 2
