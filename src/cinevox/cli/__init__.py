"""The `cinevox` command: what is not a stage. Every subcommand answers on one screen.

A subcommand stands in the `COMMANDS` of the module that does it.
"""

from __future__ import annotations

import argparse
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cinevox.cli import (
    batch,
    data,
    encodings,
    experiments,
    gate,
    importing,
    listings,
    new,
    preparations,
    record,
    submissions,
)
from cinevox.cli._screen import Commands
from cinevox.errors import InputError
from cinevox.files import disk

CLOSED = 141  # exit code of a program whose reader has gone, as a shell says it
COMMANDS: Commands = {}
for _module in (listings, data, importing, new, preparations, gate, record, experiments, batch, submissions, encodings):
    COMMANDS |= _module.COMMANDS


class _Paragraphs(argparse.HelpFormatter):
    """Descriptions keep their paragraphs."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; returns its exit code.

    A user's mistake, and a file that the system refuses, end in one message and exit code 2.
    """
    parser = argparse.ArgumentParser(
        prog="cinevox", description="Encoding models of video fMRI: what there is, and what came out."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (run, options) in COMMANDS.items():
        first, *others = inspect.cleandoc(run.__doc__ or "").split("\n\n")
        description = "\n\n".join([f"{first}.", *others])
        command = commands.add_parser(name, help=first, description=description, formatter_class=_Paragraphs)
        for flag, settings in options.items():
            command.add_argument(flag, **settings)
    chosen = parser.parse_args(arguments)
    try:
        code = COMMANDS[chosen.command][0](chosen) or 0
        sys.stdout.flush()
        return code
    except InputError as error:
        print(f"cinevox {chosen.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # such as `| head`, which has seen enough; Python would complain once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED
    except OSError as error:
        if error.errno in disk.FULL:
            where = Path(error.filename).parent if isinstance(error.filename, str) else Path()
            print(f"cinevox {chosen.command}: {disk.full(where)}", file=sys.stderr)
            return 2
        if error.filename is None:
            raise
        told = f"{error.filename}: can't be read or written ({error.strerror}); mend that, or name another place"
        print(f"cinevox {chosen.command}: {told}", file=sys.stderr)
        return 2
