"""Print the commands of a README's ``console`` blocks, one a line, joined where they continue."""

import re
import sys
from pathlib import Path

text = Path(sys.argv[1]).read_text(encoding="utf-8")
for block in re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
    for command in re.findall(r"^\$ (.*(?:\\\n.*)*)", block, re.MULTILINE):
        sys.stdout.write(command + "\n")
