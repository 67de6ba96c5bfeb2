"""The commands. Thin: read the arguments, call, print.

`root` has the list of commands and turns what goes wrong into one sentence and an exit code; `access` decides how a
command gets at the database. Whatever is slow to import (the web framework, HTTP clients) is imported inside the
commands, so that `--help` is quick.
"""

from bridge.cli.root import main

__all__ = ["main"]
