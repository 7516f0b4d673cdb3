"""`python -m avmm.cli`: the command line without its installed script."""

import sys

from avmm.cli.main import main

sys.exit(main())
