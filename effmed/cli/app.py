"""The Typer app: commands by name, known errors as two lines and an exit code."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from effmed import __version__
from effmed.cli import commands
from effmed.cli.output import Output
from effmed.errors import EffmedError

INTERRUPTED = 130
# New objects after which lost cycles are looked for: importing torch and timm makes a million, none of them lost.
NEW_OBJECTS = 100_000

app = typer.Typer(
    name="effmed",
    help="Fine-tune EfficientNets on medical images; calibrated, honestly evaluated, reusable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
variants = typer.Typer()
recipes = typer.Typer(help="What recipes there are and what they may say.", no_args_is_help=True)
weights = typer.Typer(help="Pretrained weights: which there are, and fetching them.", no_args_is_help=True)
cache = typer.Typer(help="Decoded images that are kept between runs.", no_args_is_help=True)

app.command()(commands.inspect)
app.command()(commands.train)
app.command()(commands.evaluate)
app.command()(commands.compare)
app.command()(commands.predict)
app.command()(commands.calibrate)
app.add_typer(variants, name="variants")
variants.callback(invoke_without_command=True)(commands.variants)
variants.command("show")(commands.variants_show)
app.add_typer(recipes, name="recipes")
recipes.command("list")(commands.recipes_list)
recipes.command("show")(commands.recipes_show)
recipes.command("keys")(commands.recipes_keys)
app.add_typer(weights, name="weights")
weights.command("list")(commands.weights_list)
weights.command("fetch")(commands.weights_fetch)
app.add_typer(cache, name="cache")
cache.command("info")(commands.cache_info)
cache.command("clear")(commands.cache_clear)
app.command()(commands.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"effmed {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; the entry point of ``effmed`` and ``python -m effmed``.

    Exit codes: 0 done, 1 bug, 2 usage or recipe, 3 data, 4 bundle, 5 machine, 75 asked to end by a signal (resumable),
    130 interrupted.

    Python looks for lost cycles less often than by default, and not at the end: 1 s of start-up and 2 s after the last
    word of a training.
    """
    gc.set_threshold(NEW_OBJECTS)
    try:
        app()
    except EffmedError as error:
        if os.environ.get("EFFMED_DEBUG") == "1":
            raise
        Output().error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(INTERRUPTED)
    finally:
        gc.freeze()
