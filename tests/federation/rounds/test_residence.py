"""A trainer behind a socket does what it does in the same process, once loaded, for its owner alone."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from multiprocessing.connection import Listener
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from federation.rounds.residence import SocketTrainer, answer, listen
from federation.rounds.synthetic import trainer
from federation.rounds.trainer import Refused, TrainConfig, TrainReply
from tests.federation.rounds.making import same

CONFIG = TrainConfig(3, 7, frozenset({"B", "prompt"}), 2.0, 2, 4, 0.01, proximal=0.1, seconds=5.0)


@pytest.fixture
def socket() -> Iterator[Path]:
    """A short path: a socket's has 107 bytes at most."""
    with TemporaryDirectory(prefix="sotto-") as folder:
        yield Path(folder) / "trainer.sock"


def answering(socket: Path, times: int, **options: object) -> Thread:
    """Answers so often, then closes the socket."""
    listener = listen(socket)

    def work() -> None:
        with listener:
            for _ in range(times):
                answer(listener, trainer(**options))  # type: ignore[arg-type]

    thread = Thread(target=work)
    thread.start()
    return thread


def test_what_comes_back_is_what_the_trainer_gives(socket: Path):
    made = trainer()
    cohorts = {"global": made.initial(0), "c0": made.initial(1)}
    thread = answering(socket, 2)
    asked = [SocketTrainer(str(socket)).train("d1", cohorts, CONFIG) for _ in range(2)]
    thread.join()
    expected = made.train("d1", cohorts, CONFIG)
    for found in asked:
        assert (found.cohort, found.examples) == (expected.cohort, expected.examples)
        assert same(found.update, expected.update)
        assert {**found.metrics, "seconds": 0} == {**expected.metrics, "seconds": 0}


def test_what_it_refuses_is_refused_here_and_it_goes_on(socket: Path):
    cohorts = {"global": trainer().initial(0)}
    thread = answering(socket, 2, broken=["d1"])
    with pytest.raises(ValueError, match="too few events"):
        SocketTrainer(str(socket)).train("d1", cohorts, CONFIG)
    assert SocketTrainer(str(socket)).train("d2", cohorts, CONFIG).cohort == "global"
    thread.join()


def test_a_refusal_of_the_limits_is_one_here_too(socket: Path):
    class Limited:
        def train(self, *_: object) -> TrainReply:
            raise Refused("the machine is busy")

    def work(listener: Listener) -> None:
        with listener:
            answer(listener, Limited())

    thread = Thread(target=work, args=[listen(socket)])
    thread.start()
    with pytest.raises(Refused, match="busy"):
        SocketTrainer(str(socket)).train("d1", {"global": trainer().initial(0)}, CONFIG)
    thread.join()


def test_the_socket_is_its_owner_s_alone_and_never_taken_over(socket: Path):
    with listen(socket):
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        with pytest.raises(FileExistsError):
            listen(socket)


def test_one_that_is_gone_is_an_error(socket: Path):
    with pytest.raises(OSError, match="No such file"):
        SocketTrainer(str(socket)).train("d1", {"global": trainer().initial(0)}, CONFIG)
