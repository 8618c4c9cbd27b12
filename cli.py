"""Launcher for a clone that is not installed: `python cli.py run --target-flops 400M`."""

from scalesearch.commands.main import main

if __name__ == "__main__":  # worker processes import this file again
    raise SystemExit(main())
