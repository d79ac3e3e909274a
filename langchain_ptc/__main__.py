"""`python -m langchain_ptc` is `langchain-ptc`."""

import sys

from langchain_ptc.cli import main

sys.exit(main())
