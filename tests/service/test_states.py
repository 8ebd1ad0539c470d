"""The table of states."""

from itertools import product

import pytest

from automask.service.states import ENDS, TRANSITIONS, IllegalMoveError, State, move
from automask.v1.mask_service_pb2 import RequestState

LEGAL = {
    (State.QUEUED, State.PROCESSING),
    (State.QUEUED, State.FAILED),
    (State.QUEUED, State.CANCELLED),
    (State.PROCESSING, State.QUEUED),
    (State.PROCESSING, State.COMPLETED),
    (State.PROCESSING, State.FAILED),
    (State.PROCESSING, State.CANCELLED),
}


@pytest.mark.parametrize(("old", "new"), sorted(LEGAL))
def test_legal_moves_give_the_new_state(old: State, new: State) -> None:
    assert move(old, new) is new


@pytest.mark.parametrize(("old", "new"), sorted(set(product(State, State)) - LEGAL))
def test_every_other_move_raises_and_names_both(old: State, new: State) -> None:
    with pytest.raises(IllegalMoveError, match=f"{new} cannot follow {old}"):
        move(old, new)


def test_the_message_tells_what_could_follow() -> None:
    with pytest.raises(IllegalMoveError, match="what can is CANCELLED, FAILED, PROCESSING"):
        move(State.QUEUED, State.COMPLETED)
    with pytest.raises(IllegalMoveError, match="nothing: it is an end"):
        move(State.FAILED, State.QUEUED)


def test_every_state_has_its_row_and_the_ends_are_three() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {State.COMPLETED, State.FAILED, State.CANCELLED} == ENDS


def test_the_contract_has_the_same_states() -> None:
    names = {name.removeprefix("REQUEST_STATE_") for name in RequestState.keys()}  # noqa: SIM118 (an enum of protobuf)
    assert names - {"UNSPECIFIED"} == set(State)
