"""The table of states."""

from itertools import product

import pytest

from automask.service.states import FINAL_STATES, TRANSITIONS, IllegalTransitionError, State, check_transition
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
def test_a_legal_transition_returns_the_new_state(old: State, new: State) -> None:
    assert check_transition(old, new) is new


@pytest.mark.parametrize(("old", "new"), sorted(set(product(State, State)) - LEGAL))
def test_every_other_transition_is_an_error_that_names_both_states(old: State, new: State) -> None:
    with pytest.raises(IllegalTransitionError, match=f"{new} cannot follow {old}"):
        check_transition(old, new)


def test_the_error_names_the_possible_states() -> None:
    with pytest.raises(IllegalTransitionError, match="possible states: CANCELLED, FAILED, PROCESSING"):
        check_transition(State.QUEUED, State.COMPLETED)
    with pytest.raises(IllegalTransitionError, match="none: it is final"):
        check_transition(State.FAILED, State.QUEUED)


def test_every_state_has_a_row_and_three_are_final() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {State.COMPLETED, State.FAILED, State.CANCELLED} == FINAL_STATES


def test_the_contract_has_the_same_states() -> None:
    names = {name.removeprefix("REQUEST_STATE_") for name in RequestState.keys()}  # noqa: SIM118 (an enum of protobuf)
    assert names - {"UNSPECIFIED"} == set(State)
