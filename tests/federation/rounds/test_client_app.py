"""A device trains with what it is configured for; a server can name a trainer only where the device has none."""

from __future__ import annotations

import pytest
from flwr.app import Context, RecordDict
from flwr.app.user_config import UserConfig

from federation.rounds.client_app import device_of, trainer_of

RUN: UserConfig = {"trainer": "synthetic", "trainer-options": '{"rank": 2}'}


def context(node: UserConfig, run: UserConfig = RUN) -> Context:
    return Context(run_id=1, node_id=7, node_config=node, state=RecordDict(), run_config=run)


def test_the_run_names_the_trainer_of_a_node_without_one():
    assert trainer_of(context({})) == ("synthetic", {"rank": 2})


def test_a_node_s_own_trainer_goes_first_and_takes_no_option_from_the_run():
    assert trainer_of(context({"trainer": "population"})) == ("population", {})
    assert trainer_of(context({"trainer": "population", "trainer-options": '{"count": 3}'}))[1] == {"count": 3}


def test_a_server_cannot_name_a_place_on_the_node_s_machine():
    asked: UserConfig = {"trainer": "resident", "trainer-options": '{"socket": "/run/other.sock"}'}
    with pytest.raises(ValueError, match="cannot name"):
        trainer_of(context({}, asked))
    assert trainer_of(context(asked, {})) == ("resident", {"socket": "/run/other.sock"})


def test_options_that_are_no_object_are_refused():
    with pytest.raises(ValueError, match="no object"):
        trainer_of(context({"trainer": "synthetic", "trainer-options": "[1]"}))


def test_a_device_is_its_partition_or_its_node():
    assert (device_of(context({"partition-id": 3})), device_of(context({}))) == ("3", "7")
