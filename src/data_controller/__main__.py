"""`python -m data_controller`: the command line without its script."""

import sys

from data_controller.cli import main

sys.exit(main())
