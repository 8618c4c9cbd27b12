"""`python -m scalesearch.commands`."""

from scalesearch.commands.main import main

raise SystemExit(main())
