# SPDX-License-Identifier: MPL-2.0
"""The tables that the README shows."""

TITLES = {
    "encoder": "Encoder, one window of 30 s",
    "decoder": "Decoder, one token after 100 others",
    "offline": "Offline, English clips from file to text",
}


def markdown(about, results):
    busy = f", {about['busy']} other processes spinning" if about["busy"] else ""
    rounds = f"medians of {about['rounds']} rounds in turns (offline: {about['offline_rounds']})"
    parts = [f"{about['processor']}, {about['threads']} threads each{busy}; {rounds}."]
    for test in TITLES:
        mine = [result for result in results if result["test"] == test]
        if mine:
            parts.append(table(test, mine))
    return "\n\n".join(parts)


def table(test, results):
    models = [result["model"] for result in results]
    head = ["", *(f"{model} | ours to it" for model in models)]
    lines = [f"| {TITLES[test]} | " + " | ".join(head[1:]) + " |", "|---" * (1 + 2 * len(models)) + "|"]
    # The same contestants for each model, in the same order.
    for rows in zip(*(result["rows"] for result in results), strict=True):
        cells = [part for row in rows for part in (value(test, row), ratio(row))]
        lines.append(f"| {name(rows[0])} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def name(row):
    return (
        f"{row['who']}: {row['runs']}" if row["who"].startswith("ours") and row["runs"] != row["who"] else row["runs"]
    )


def ratio(row):
    return "" if row["who"] == "ours" else f"{row['ratio']:.2f}"


def value(test, row):
    if test == "offline":
        return f"{row['speed']:.1f} × real time, {100 * row['errors']:.1f} % of words wrong"
    return f"{1000 * row['median']:.{0 if test == 'encoder' else 2}f} ms"
