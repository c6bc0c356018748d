"""How far the models' tests are off their references, as a table.

    SENSORIUM_DIFFERENCES=differences.tsv cargo test --release -p sensorium-inference --test published --test parity
    python bench/differences.py differences.tsv

A row for each module of tests; off is the worst difference of a comparison over its largest value, or over 1 where all are
smaller.
"""

import csv
import sys
from collections import defaultdict

rows = defaultdict(list)
with open(sys.argv[1], newline="") as file:
    for test, name, worst, largest in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
        rows[test.split("::")[0]].append((float(worst) / max(1.0, float(largest)), name))

print("| tests | comparisons | worst | of |\n|---|---|---|---|")
for module, all_of_it in sorted(rows.items()):
    worst, name = max(all_of_it)
    print(f"| {module} | {len(all_of_it)} | {worst:.1e} | {name} |")
