"""One table in every format that is read, as Python, openpyxl and Apache Arrow write it. Writes goldens/table.

    venv/bin/pip install openpyxl pyarrow
    venv/bin/python reference/table.py

`expected.json` has the columns, and the rows: null where nothing stands, dates as {"days": since 1970-01-01}.
"""

import csv
import datetime
import decimal
import io
import json
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent.parent / "goldens" / "table"
DAY = datetime.date
TIME = datetime.datetime
COLUMNS = [("name", "category", None), ("height (cm)", "number", "cm"), ("born", "date", None),
           ("seen", "date", None), ("smokes", "boolean", None), ("visits", "number", None),
           ("price_eur", "number", "eur")]
ROWS = [
    ["Ada, \"the first\"", 165.5, DAY(1815, 12, 10), TIME(2024, 3, 9, 7, 30), False, 3, decimal.Decimal("12.50")],
    ["Émilie\n日本", None, DAY(1706, 12, 17), None, True, None, decimal.Decimal("-0.05")],
    ["0", 0.0, None, TIME(2024, 2, 29, 18, 0), None, 0, None],
    [None, 171.25, DAY(2024, 2, 29), TIME(1970, 1, 1, 0, 0), True, 12, decimal.Decimal("1000.00")],
]
NAMES = [name for name, _, _ in COLUMNS]
EPOCH = TIME(1970, 1, 1)


def expected(value):
    if isinstance(value, TIME):
        return {"days": (value - EPOCH) / datetime.timedelta(days=1)}
    if isinstance(value, DAY):
        return {"days": (value - EPOCH.date()).days}
    return float(value) if isinstance(value, (decimal.Decimal, int)) and not isinstance(value, bool) else value


def spelt(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, DAY) else str(value)


def separated(**options):
    text = io.StringIO()
    writer = csv.writer(text, **options)
    writer.writerows([NAMES, *([spelt(value) for value in row] for row in ROWS)])
    return text.getvalue()


def json_lines():
    plain = lambda v: spelt(v) if isinstance(v, DAY) else float(v) if isinstance(v, decimal.Decimal) else v
    # What is not there has no key in every other row.
    rows = [{name: plain(value) for name, value in zip(NAMES, row) if value is not None or i % 2}
            for i, row in enumerate(ROWS)]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def spreadsheet(path):
    """Not at the first cell, and with a second sheet."""
    book = openpyxl.Workbook()
    for i, row in enumerate([NAMES, *ROWS]):
        for j, value in enumerate(row):
            book.active.cell(3 + i, 2 + j, float(value) if isinstance(value, decimal.Decimal) else value)
    book.create_sheet("other")["A1"] = "not read"
    book.save(path)


def arrow():
    kinds = [pa.string(), pa.float64(), pa.date32(), pa.timestamp("ms"), pa.bool_(), pa.int64(), pa.decimal128(8, 2)]
    columns = [pa.array([row[i] for row in ROWS], kind) for i, kind in enumerate(kinds)]
    return pa.table(columns, names=NAMES)


def main():
    HERE.mkdir(parents=True, exist_ok=True)
    schema = [{"name": name, "kind": kind, "unit": unit, "missing": sum(row[i] is None for row in ROWS)}
              for i, (name, kind, unit) in enumerate(COLUMNS)]
    rows = [[expected(value) for value in row] for row in ROWS]
    (HERE / "expected.json").write_text(json.dumps({"schema": schema, "rows": rows}, indent=1) + "\n")
    for name, text in (("comma.csv", separated()), ("semicolon.csv", separated(delimiter=";", lineterminator="\n")),
                       ("tab.tsv", separated(delimiter="\t")), ("lines.jsonl", json_lines())):
        (HERE / name).write_bytes(text.encode())
    (HERE / "marked.csv").write_bytes(separated().encode("utf-8-sig"))
    (HERE / "wide.csv").write_bytes(separated(delimiter="\t").encode("utf-16"))
    (HERE / "wide_big.csv").write_bytes(b"\xFE\xFF" + separated().encode("utf-16-be"))
    spreadsheet(HERE / "sheet.xlsx")
    integers = dict(store_decimal_as_integer=True)
    pq.write_table(arrow(), HERE / "snappy.parquet", **integers)
    pq.write_table(arrow(), HERE / "zstd.parquet", compression="zstd", data_page_version="2.0", row_group_size=2,
                   **integers)


if __name__ == "__main__":
    main()
