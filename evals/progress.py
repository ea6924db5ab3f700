"""Shows progress on a terminal, and only there."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID, TimeRemainingColumn

Tick = Callable[[str, int, int], None]
"""Told of progress: what is being done, steps done, steps in all."""


@contextlib.contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Tick | None]:
    """Give a callback that draws one bar for each thing done, on standard error."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield None
        return
    with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def tick(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield tick
