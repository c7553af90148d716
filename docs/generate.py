"""Write docs/cli.md and docs/recipe.md from the code: ``make docs``. A test compares them with what this gives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from effmed.recipe import Recipe, recipe_keys

DOCS = Path(__file__).parent


def cli_page() -> str:
    """Return the reference of every command, as Typer documents it."""
    command = [sys.executable, "-m", "typer", "effmed.cli.app", "utils", "docs", "--name", "effmed"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip() + "\n"  # noqa: S603  fixed words


def recipe_page() -> str:
    """Return the reference of every recipe key."""
    parts = [
        "# Recipe keys",
        "",
        "A recipe is a YAML file that holds what differs from these defaults; `--set section.key=value` wins over it.",
        "`auto` is decided by the plan, which `effmed train --dry-run` prints with its reasons.",
    ]
    for section in Recipe.model_fields:
        title = type(getattr(Recipe(), section)).__doc__ or ""
        parts += [
            "",
            f"## {section}",
            "",
            title.strip(),
            "",
            "| key | values | default | meaning |",
            "|---|---|---|---|",
        ]
        for key, values, default, meaning in recipe_keys():
            if key.startswith(f"{section}."):
                escaped = values.replace("|", "\\|")
                parts.append(f"| `{key}` | {escaped} | `{default}` | {meaning} |")
    return "\n".join(parts) + "\n"


PAGES = {"cli.md": cli_page, "recipe.md": recipe_page}

if __name__ == "__main__":
    for name, make_page in PAGES.items():
        (DOCS / name).write_text(make_page(), encoding="utf-8")
