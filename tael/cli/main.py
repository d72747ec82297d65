"""The command line: parse, call one function, show its answer.

Each verb is one Python call in another room, imported when the verb runs, so that `tael --help`
loads none of them. Errors become one line each on stderr and an exit code in `main` alone: 0 done,
1 failed, 2 wrong usage, 130 stopped by Ctrl-C.
"""

import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import typer

from tael.cli import judge, key, look, write
from tael.cli.options import (
    Database,
    Json,
    Language,
    Out,
    Overrides,
    Quiet,
    Reading,
    RecipeFile,
    RunFolder,
    ServedRun,
    Terms,
    Variant,
    spoken,
)
from tael.cli.show import ready_for_pipes, show_json, show_lines, show_next
from tael.errors import FloorError, TaelError, UsageError

__all__ = ["app", "main"]

app = typer.Typer(
    name="tael",
    help="From raw text to a model that earns its keep, and the price of it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# ClickException, which typer imported from click up to 0.15 and carries in itself since.
_CLICK_ERROR = cast(type[Exception], typer.BadParameter.__mro__[2])


@dataclass
class _Settings:
    """What the options before the verb say."""

    debug: bool = False


def main() -> None:
    """Run the command line and exit with its code."""
    ready_for_pipes()
    # Before torch is loaded: threads that spin while they wait stall training many times over
    # where anything else runs on the machine. Speed only; no result depends on it.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    settings = _Settings()
    code = 1
    try:
        code = app(prog_name="tael", standalone_mode=False, obj=settings) or 0
        sys.stdout.flush()
    except _CLICK_ERROR as error:
        code = _say(error, _usage(error), 2, settings)
    except TaelError as error:
        code = _say(error, str(error), error.exit_code, settings, name="")
    except (KeyboardInterrupt, typer.Abort) as error:
        code = _say(error, "stopped", 130, settings)
    except BrokenPipeError:
        # The reader went away, as `| head` does; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        code = _say(error, what, 1, settings)
    except Exception as error:
        what = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}".rstrip(": ")
        code = _say(error, f"{what} (a fault in tael; `tael --debug` shows where)", 1, settings)
    sys.exit(code)


def _say(
    error: BaseException, text: str, code: int, settings: _Settings, name: str = "tael: "
) -> int:
    if settings.debug:
        import traceback

        traceback.print_exception(error)
    for line in text.splitlines() or [type(error).__name__]:
        sys.stderr.write(f"{name}{line}\n")
    return code


def _usage(error: BaseException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "tael"
    message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
    return f"{message.rstrip('.')}; `{command} --help` shows what there is"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        show_lines([f"tael {version('tael')}"])
        raise typer.Exit


@app.callback(invoke_without_command=True)
def tael(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """From raw text to a model that earns its keep, and the price of it."""
    if context.invoked_subcommand is None:
        show_lines([context.get_help()])
        raise typer.Exit(2)
    if isinstance(context.obj, _Settings):
        context.obj.debug = debug
    # What a library wants said aloud (a fallback, a file left out) goes to stderr, a line each.
    logging.basicConfig(format="tael: %(message)s", level=logging.WARNING, stream=sys.stderr)


@app.command()
def new(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Name of the recipe: writes NAME.yaml.")
    ] = None,
    settings: Overrides = None,
    task: Annotated[
        str | None, typer.Option(metavar="T", help="What to learn: classify, ….")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Guess columns and task from this data file."),
    ] = None,
) -> None:
    """Write a commented recipe. Never over one that is there."""
    from tael.road.new import new as write_new

    if name and "=" in name:  # `tael new --from reviews.csv train.epochs=2`
        settings = [name, *(settings or [])]
        name = None
    made = write_new(name, task, settings or [], source)
    show_lines(made.lines)
    show_next(f"tael check {made.path}")


@app.command()
def check(
    recipe: RecipeFile,
    overrides: Overrides = None,
    full: Annotated[bool, typer.Option("--full", help="Read all rows, not the first 10,000.")] = (
        False
    ),
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Print the whole recipe with every default.")
    ] = False,
    plot_rate: Annotated[
        bool,
        typer.Option("--plot-rate", help="Draw the learning rate, here and in NAME-rate.html."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say all that is wrong with RECIPE and its data. Spends no compute."""
    from tael.recipe.load import load_recipe, resolved_yaml

    loaded = load_recipe(recipe, overrides or [])
    if resolved:
        show_lines([resolved_yaml(loaded).rstrip("\n")])
        return
    from tael.road import check as check_road

    checked = check_road.check(loaded, full=full)
    drawn = check_road.plot_rate(loaded, checked) if plot_rate else []
    if as_json:
        show_json(checked.to_json())
        return
    show_lines([*checked.lines(), *drawn])
    show_next(" ".join(["tael run", str(recipe), *(overrides or [])]))


app.command()(look.data)
app.command("data-diff")(look.data_diff)
app.command()(look.runs)
app.command()(look.compare)
app.command()(look.plan)


@app.command()
def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Out = None,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Do all of RECIPE, from data to price. Goes on where it stopped."""
    from tael.recipe.load import load_recipe

    # Before torch: a typing error shows at once.
    loaded = load_recipe(recipe, spoken(overrides, lang))
    from tael.road.run import run as run_recipe

    folder = run_recipe(loaded, out, progress=not quiet)
    if not quiet:
        show_next(f"tael serve {folder}")


@app.command()
def train(
    recipe: RecipeFile,
    overrides: Overrides = None,
    out: Out = None,
    lang: Language = None,
    quiet: Quiet = False,
) -> None:
    """Train the model of RECIPE and write its run folder. Goes on where it stopped."""
    from tael.recipe.load import load_recipe

    loaded = load_recipe(recipe, spoken(overrides, lang))
    from tael.train.train import train as train_recipe

    folder = train_recipe(loaded, out, progress=not quiet)
    if not quiet:
        show_next(f"tael evaluate {folder}")


app.command()(judge.tune)
app.command()(judge.evaluate)
app.command()(judge.report)
app.command()(judge.ablate)


@app.command()
def predict(
    run: RunFolder,
    reading: Reading = None,
    *,
    source: Annotated[Path, typer.Option("--in", metavar="FILE", help="The records to answer.")],
    target: Annotated[
        Path, typer.Option("--out", metavar="FILE.jsonl", help="Gets one JSON object a record.")
    ],
    variant: Variant = None,
    quiet: Quiet = False,
) -> None:
    """Answer the records of a file, in order. The chosen variant of RUN answers."""
    from tael.cli.show import show_counts
    from tael.road.predict import predict as predict_file

    counts = predict_file(run, source, target, variant, reading or [])
    if not quiet:
        show_counts(target, counts)


@app.command()
def price(
    run: RunFolder, terms: Terms = None, lang: Language = None, as_json: Json = False
) -> None:
    """Measure the variants of RUN and choose. The cheapest that keeps the floor wins.

    A finished run is priced anew, without training, on other terms: price.floor="accuracy >= 0.9".
    """
    from tael.road.price import price as price_run

    try:
        frontier = price_run(run, terms or [], lang=lang, progress=not as_json)
    except FloorError:
        if as_json:  # the evidence is complete, only nothing was chosen
            show_json(json.loads((run / "price" / "frontier.json").read_text("utf-8")))
        raise
    if as_json:
        show_json(frontier.model_dump(mode="json"))
        return
    from tael.cli.show import show_frontier

    show_frontier(frontier)
    show_next(f"tael serve {run}")


@app.command()
def serve(
    run: RunFolder,
    port: Annotated[
        int, typer.Option(metavar="N", min=0, max=65535, help="TCP port; 0 takes a free one.")
    ] = (8000),
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    db: Annotated[
        str | None, typer.Option(metavar="URL", help="Ledger; default: serve/ledger.db in RUN.")
    ] = None,
    variant: Variant = None,
    new_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make one more API key of this name.")
    ] = None,
) -> None:
    """Answer over HTTP. Prints its address when it is ready."""
    from tael.serve.service import serve as serve_run

    serve_run(run, port=port, db=db, host=host, variant=variant, new_key=new_key)


@app.command()
def bill(
    served: ServedRun = None,
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Print what each API key used and owes."""
    if served is None and db is None:
        raise UsageError("which ledger? `tael bill RUN`, or `tael bill --db URL`")
    from tael.serve.bill import bill as read_bill
    from tael.serve.bill import ledger_url

    read = read_bill(ledger_url(served or Path(), db))
    if as_json:
        show_json(read.to_json())
        return
    from tael.cli.show import show_bill

    show_bill(read)


app.add_typer(key.app, name="key")


@app.command()
def demo(
    full: Annotated[bool, typer.Option("--full", help="Train for an hour, not for minutes.")] = (
        False
    ),
) -> None:
    """Drive the whole road on real reviews. From data to a billed service."""
    from tael.road.demo import demo as drive

    drive(full=full)


app.command()(write.generate)
app.command()(write.chat)
app.command()(write.hidden)
app.command()(look.doctor)


if __name__ == "__main__":
    main()
