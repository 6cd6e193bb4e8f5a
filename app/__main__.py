"""``python -m app``: the same as ``ownyourtrakt``, where the package is not installed."""

import sys

try:
    from app.cli import cli
except ModuleNotFoundError as error:
    sys.exit(
        f"ownyourtrakt: the package {error.name!r} is not installed here. Use make run, make demo "
        "or make doctor, or run: pip install -r requirements.txt"
    )

cli(prog_name="ownyourtrakt")
