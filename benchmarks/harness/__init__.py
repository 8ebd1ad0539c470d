"""Code shared by several questions: timing, tables, photos, models, load, and the queueing model.

The questions start servers and databases with the helpers of the tests (``tests/support``). Importing this package puts
``tests/`` on the import path, so every script here works without a PYTHONPATH.
"""

import sys
from pathlib import Path

_TESTS = str(Path(__file__).parents[2] / "tests")
if _TESTS not in sys.path:
    sys.path.append(_TESTS)  # last, so that nothing in tests/ hides a package
