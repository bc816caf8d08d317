"""`python -m mgrpo` is `mgrpo`."""

import sys

from mgrpo.cli import main

sys.exit(main())
