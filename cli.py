"""Launcher for a clone that is not installed: `python cli.py run --target-flops 400M`."""

from scalesearch.commands.main import main

raise SystemExit(main())
