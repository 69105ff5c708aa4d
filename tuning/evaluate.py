"""The process of the evaluation stage: `python -m tuning.evaluate --run-dir RUN`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from selfinstruct import library_log
from selfinstruct.errors import InputError
from selfinstruct.program_edge import run_program


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate the run of a directory, and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m tuning.evaluate", description="Compare the tuned model of a run with its base."
    )
    parser.add_argument("--run-dir", type=Path, required=True, help="run directory")
    parser.add_argument("--config", type=Path, help="configuration (YAML); default: that of the run; - reads stdin")
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=MODEL", help="a further model; repeatable"
    )
    options = parser.parse_args(arguments)
    return run_program(lambda: _evaluate(options), prefix="error: ")


def _evaluate(options: argparse.Namespace) -> None:
    from selfinstruct.config.load import load_config
    from selfinstruct.run.directory import RunDirectory
    from tuning.evaluation.evaluation import evaluate
    from tuning.evaluation.score_tables import show_scores

    run = RunDirectory(options.run_dir)
    if options.config is None and not run.config_path.exists():
        raise InputError(
            f"{run.path} is not a run directory: it has no {run.config_path.name}; give one with --config FILE"
        )
    config = load_config(options.config or run.config_path, {})
    with run.locked():
        library_log.begin(run.library_log, "evaluate")
        show_scores(evaluate(config, run, options.model))


if __name__ == "__main__":
    sys.exit(main())
