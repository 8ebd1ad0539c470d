"""`automask export`: a checkpoint, by short name, Hub id or folder, to a bundle of ONNX graphs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import click

from automask.licences import accept
from automask.lookup import check_name, place_of
from automask.publish import check_output, ending_cleanly

from .architecture import Architecture, Build, Part, force_option, output_option, photo_option
from .architectures import architecture_names, find_architecture
from .built_in import MOBILE_SAM
from .catalogue import Choice, choose, default_model, entries, find_source, list_entries
from .combined import combine
from .figures import Report
from .manifest import PRECISIONS
from .pipeline import DEFAULT_PRECISIONS, ExportOptions, Progress, export_bundle
from .source import Source

__all__ = ["export"]


class _Models(click.Group):
    """Takes any model in the place of a command: short name, Hub id or folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return what a shell completes: the folders of `architectures/`, and the short names."""
        del ctx
        return sorted({*architecture_names(), *(entry.name for _, entry in entries())})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        del ctx
        architecture = find_architecture(cmd_name)
        if architecture is None:
            return click.Command(cmd_name, params=_options(), callback=partial(_export, cmd_name), help=_HELP)
        if architecture.build is not None:
            run = partial(_build, architecture.build)
            return click.Command(cmd_name, params=list(architecture.options), callback=run, help=architecture.help)
        run = partial(_export_architecture, architecture)
        params = [_model_option(default_model(architecture)), *_options()]
        return click.Command(cmd_name, params=params, callback=run, help=architecture.help)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _model_first(args))

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        del ctx
        return ["MODEL", "[OPTIONS]"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records = [option.get_help_record(ctx) for option in (*_options(), *self.get_params(ctx))]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record])
        found = ((name, find_architecture(name)) for name in architecture_names())
        with formatter.section("Architectures (each is also the short name of its usual model, with its own --help)"):
            formatter.write_dl([(name, one.help.partition("\n")[0]) for name, one in found if one])


def _model_first(args: list[str]) -> list[str]:
    """Move the model before the options: a group stops reading its own options there."""
    if not args or args[0] in {"--list", "--help", "-h"} or not args[0].startswith("-"):
        return args
    command = click.Command("model", params=_options())
    try:
        _, positional, _ = command.make_parser(click.Context(command)).parse_args(list(args))
    except click.UsageError:
        return args
    if not positional:
        return args
    at = args.index(positional[0])
    return [positional[0], *args[:at], *args[at + 1 :]]


def _print_list(context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(list_entries())
        context.exit()


@click.group(cls=_Models, no_args_is_help=True)
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_list,
    help="Show the models with a short name: what each is good at, Hub id, size, licence.",
)
def export() -> None:
    """Export a model: convert a checkpoint to a bundle of ONNX graphs, which runs without torch.

    MODEL is a short name (`automask export --list`), a Hub id (owner/name), or a folder with the files of one. Its
    architecture is read from config.json. A model that finds boxes gets a second one that draws the masks.

    \b
    automask export clipseg                                    a short name
    automask export owner/name --masks mobile-sam              a Hub id
    automask export my-fine-tune/ -o mine --precision fp16     a folder
    automask mask photo.jpg "the cushion on the left" --model clipseg

    Without -o, the bundle goes to the user's bundle folder, where --model NAME finds it; `automask models` lists it.
    Every graph is compared with the checkpoint before the bundle is put in place; the figures are printed and kept.
    """  # noqa: D301 (click takes the character itself as its mark for verbatim lines)


_HELP = """\
Export this checkpoint: a short name, a Hub id or a folder.

`automask export --help` has examples.
"""


def _model_option(default: str) -> click.Option:
    return click.Option(
        ["--model"],
        default=default,
        show_default=True,
        metavar="ID|DIR",
        help="Another checkpoint of this architecture: a Hub id, or a folder (of a fine-tune, for example).",
    )


def _options() -> list[click.Parameter]:
    """Return the options of every model."""
    return [
        output_option(),
        click.Option(["--name"], metavar="NAME", help="Name of the bundle.  [default: the model's]"),
        click.Option(
            ["--masks"],
            metavar="MODEL",
            help="For a model that finds boxes: what draws the masks, as a short name, a Hub id or a folder.  "
            f"[default: {MOBILE_SAM}, which is built in]",
        ),
        click.Option(
            ["--precision", "precisions"],
            type=click.Choice(PRECISIONS),
            multiple=True,
            callback=lambda _context, _option, values: tuple(dict.fromkeys(values)),
            help="Precision of the graphs; repeat the option for several in one bundle. One that does not find the "
            "same as float32 is refused.  [default: fp32, and int8 if it is not refused]",
        ),
        _size_option("--image-size", "Side of the square that images are resized to."),
        _size_option("--masks-image-size", "The same for the model of --masks."),
        click.Option(["--revision"], metavar="REV", help="Branch, tag or commit on the Hub."),
        click.Option(["--masks-revision"], metavar="REV", help="The same for the model of --masks."),
        click.Option(
            ["--optimize"],
            is_flag=True,
            help="Fuse attention into ONNX Runtime's own operator: a few percent faster on CPUs; TensorRT cannot "
            "read it.",
        ),
        click.Option(
            ["--accept-licence"],
            is_flag=True,
            help="Accept a licence that has conditions (SAM 3) without a question; asked for once.",
        ),
        photo_option(),
        force_option(),
    ]


def _size_option(name: str, text: str) -> click.Option:
    pixels = click.IntRange(min=1)
    return click.Option([name], type=pixels, metavar="PIXELS", help=f"{text}  [default: the checkpoint's own]")


def _build(build: Build, output: Path, **options: Any) -> None:  # noqa: ANN401 (options differ)
    progress = _Stages()
    report = build(output.resolve(), progress=progress, **options)
    progress.finish()
    _print(output.resolve(), report)


def _export_architecture(architecture: Architecture, *, model: str, **options: Any) -> None:  # noqa: ANN401
    _export(model, architecture, **options)


def _export(model: str, only: Architecture | None = None, **options: Any) -> None:  # noqa: ANN401
    choice = choose(model)
    name, output = _place(choice, options["name"], options["output"])
    check_output(output, force=options["force"])
    progress = _Stages()
    source = _find(choice, only, options, progress)
    precisions = options["precisions"] or DEFAULT_PRECISIONS
    optional = () if options["precisions"] else ("int8",)
    details = ExportOptions(name, precisions, optional, options["optimize"], options["photo"])
    with ending_cleanly():
        report = export_bundle(output, source, details, force=options["force"], progress=progress)
    progress.finish()
    _print(output, report)
    shown = name if options["output"] is None else options["output"]
    click.echo(f'\nautomask mask photo.jpg "…" --model {shown}')


def _place(choice: Choice, name: str | None, output: Path | None) -> tuple[str, Path]:
    """Return the name of the bundle, and its folder.

    Raises
    ------
    ParameterError
        The name cannot be that of a bundle of the user.
    """
    if name is not None:
        check_name(name)
    name = choice.name if name is None else name
    return name, place_of(name) if output is None else output.resolve()


def _find(choice: Choice, only: Architecture | None, options: dict[str, Any], progress: Progress) -> Source:
    """Find the checkpoint, and the one that draws the masks where it is needed."""
    masks: str | None = options["masks"]
    drawing = choose(masks or MOBILE_SAM)
    parts: set[Part] = {"whole", "finder"} if masks is None else {"finder"}
    drawers: set[Part] = {"drawer"}
    progress(f"checkpoint: {choice.model}")
    agree = partial(accept, accepted=options["accept_licence"])
    revision, image_size = options["revision"], options["image_size"]
    source = find_source(choice, parts=parts, revision=revision, image_size=image_size, agree=agree, only=only)
    if source.part == "whole":
        return source
    progress(f"masks: {drawing.model}")
    revision, image_size = options["masks_revision"], options["masks_image_size"]
    drawer = find_source(drawing, parts=drawers, revision=revision, image_size=image_size, agree=agree)
    return combine(source, drawer)


class _Stages:
    """Prints the lines of an export, and after each stage how long it took; an indented line is part of a stage."""

    def __init__(self) -> None:
        self._start = perf_counter()
        self._running = False

    def __call__(self, line: str) -> None:
        if not line.startswith(" "):
            self.finish()
            self._start, self._running = perf_counter(), True
        click.echo(line)

    def finish(self) -> None:
        """Print the time of the last stage, unless it was instant."""
        seconds = perf_counter() - self._start
        if self._running and seconds >= 0.1:
            click.echo(f"  {seconds:.1f} s")
        self._running = False


def _print(output: Path, report: Report) -> None:
    files = [(path.name, path.stat().st_size) for path in sorted(output.iterdir())]
    click.echo(f"\n{output}")
    for name, size in [*files, ("total", sum(size for _, size in files))]:
        click.echo(f"  {name:48} {size / 1e6:9.3f} MB")
    click.echo("\nparity")
    for figure in report.figures:
        click.echo(f"  {figure.name:52} {figure.value:9.4g}  {figure.limit_text}")
    for precision, criterion in report.criteria.items():
        click.echo(f"  {precision} is judged by {criterion}")
    if report.sense:
        click.echo(f"\nsense\n  {report.sense}")
