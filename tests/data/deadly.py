"""A path that ends the process which looks at it. Light: decoding processes import this module to know it."""

import os
from pathlib import Path


class DeadlyPath(type(Path())):
    """A file that ends the process if it is called deadly, as a crash in a C library would."""

    def stat(self, **options):
        if self.name.startswith("deadly"):
            os._exit(1)
        return super().stat(**options)


def end_process():
    os._exit(1)
