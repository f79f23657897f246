"""``python -m fastdistill`` is the command line."""

from fastdistill.cli import main

raise SystemExit(main())
