"""Defaults of options: variables ``AUTOMASK_…``, and the TOML file that `automask serve` reads, too."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import click

__all__ = ["CONTEXT", "config_option", "first_model"]

CONTEXT = {"auto_envvar_prefix": "AUTOMASK"}
"""Settings of a command, each option of which is also a variable: --grow-mask is AUTOMASK_GROW_MASK."""

_SHARED = ("device", "model", "threads")  # keys of `automask serve` that mean the same here


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Make the values of a TOML file the defaults of a command: the shared keys, and the table of its name."""
    if path is None or context.resilient_parsing:
        return path
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise click.BadParameter(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # of the syntax, or of the encoding
        raise click.BadParameter(f"{path} is not a TOML file: {error}") from error
    name = str(context.info_name)
    table = settings.get(name, {})
    if not isinstance(table, Mapping):
        raise click.BadParameter(f"{name} in {path} must be a table: [{name}]")
    parameters = _parameters(context.command)
    unknown = [key for key in table if key not in parameters]
    if unknown:
        raise click.BadParameter(f"{unknown[0]} in [{name}] of {path} must be one of {', '.join(parameters)}")
    values = {key: settings[key] for key in _SHARED if key in settings} | dict(table)
    if isinstance(values.get("model"), list):
        values["model"] = ",".join(map(str, values["model"]))  # as in the environment
    context.default_map = {parameters[key]: value for key, value in values.items()}
    return path


def _parameters(command: click.Command) -> dict[str, str]:
    """Return the names of the parameters of a command by the keys of the file, which are those of the options."""
    return {
        max(option.opts, key=len).removeprefix("--").replace("-", "_"): str(option.name)
        for option in command.params
        if isinstance(option, click.Option) and option.name != "config"
    }


def first_model(_context: click.Context, _parameter: click.Parameter, value: object) -> str | None:
    """Return the first model of a setting, which names several for `automask serve`."""
    return None if value is None else str(value).partition(",")[0].strip()


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_read_config,
    help="TOML file with defaults: a table [mask] or [cutout], and model, device and threads of `automask serve`.",
)
