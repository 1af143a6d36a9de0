import sys

from cinevox.cli import main

sys.exit(main())
