"""A path that ends the process which looks at it. Light: decoding processes import this module to know it."""

import os
import sys
from pathlib import Path


class DeadlyPath(type(Path())):
    """A file that ends the process if it is called deadly, as a crash in a C library would."""

    def stat(self, **options):
        if self.name.startswith("deadly"):
            os._exit(1)
        return super().stat(**options)


def end_process():
    os._exit(1)


def square(number):
    """Return the square; die at -1, and never end at -2."""
    if number == -1:
        os._exit(1)
    while number == -2:
        pass
    return number * number


def lost(number):
    return f"lost {number}"


def read_or_die(names):
    if "deadly" in names:
        os._exit(1)
    return [(name,) for name in names]


def is_imported(name):
    """Whether the process knows a module before it is asked to work."""
    return name in sys.modules
