#!/usr/bin/env python3
"""The library exports exactly what the version script and the header name. Usage: test_exports.py LIBRARY MAP HEADER"""

import re
import subprocess
import sys

library, version_script, header = sys.argv[1:]
symbols = subprocess.run(["nm", "-D", "--defined-only", library], stdout=subprocess.PIPE, check=True, text=True).stdout
exported = {line.split()[2].split("@")[0] for line in symbols.splitlines() if line.split()[1] == "T"}
with open(version_script, encoding="utf-8") as f:
    listed = set(re.findall(r"^\s+(seekd_\w+);", f.read(), re.M))
with open(header, encoding="utf-8") as f:
    declared = set(re.findall(r"^SEEKD_API[^(]*?(seekd_\w+)\(", f.read(), re.M))
for name in sorted(exported ^ listed | listed ^ declared):
    print(f"{name}: exported {name in exported}, in the version script {name in listed}, "
          f"in the header {name in declared}")
sys.exit(0 if exported == listed == declared and exported else 1)
