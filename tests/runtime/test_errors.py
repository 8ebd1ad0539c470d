"""The error tree: one base, a fitting builtin each, and the drawing in its docstring kept true."""

import inspect

import pytest

import automask
from automask import errors

CONCRETE = [getattr(errors, name) for name in errors.__all__ if name != "AutomaskError"]


@pytest.mark.parametrize("error", CONCRETE)
def test_each_is_an_automask_error_and_a_builtin(error: type[Exception]) -> None:
    assert issubclass(error, errors.AutomaskError)
    builtin = error.__mro__[2]
    assert builtin.__module__ == "builtins"
    assert f"{error.__name__} ({builtin.__name__})" in str(inspect.getdoc(errors))


@pytest.mark.parametrize("error", CONCRETE)
def test_each_can_be_imported_from_the_top(error: type[Exception]) -> None:
    assert getattr(automask, error.__name__) is error
