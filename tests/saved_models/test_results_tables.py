"""The tables of results in the READMEs come from the committed metrics.json files."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tables_are_fresh():
    done = subprocess.run(
        [sys.executable, "tools/results_table.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nRun the tool to mend it."
