"""Whether two answers of Prometheus's API say the same."""

import math


def size_of(data):
    """Number of series, or of entries of a list."""
    return len(data) if isinstance(data, list) else len(data["result"]) if isinstance(data["result"], list) else 1


def compare(ours, theirs, how, tolerance, ignored):
    """What differs first, in words; None where nothing does.

    `exact` compares values, NaN with NaN, up to a relative tolerance. `shape` compares which series there are, without their
    metric names, which not every server drops where Prometheus does.
    """
    if isinstance(ours, list) or isinstance(theirs, list):
        return compare_lists(ours, theirs, ignored)
    if ours["resultType"] != theirs["resultType"]:
        return f"{ours['resultType']}, not {theirs['resultType']}"
    if ours["resultType"] in ("scalar", "string"):
        same = how == "shape" or equal(ours["result"][1], theirs["result"][1], tolerance)
        return None if same else f"{ours['result'][1]}, not {theirs['result'][1]}"
    ignored = ignored | {"__name__"} if how == "shape" else ignored
    ours, theirs = by_labels(ours["result"], ignored), by_labels(theirs["result"], ignored)
    if ours.keys() != theirs.keys():
        missing, extra = theirs.keys() - ours.keys(), ours.keys() - theirs.keys()
        example = "{" + ", ".join("=".join(pair) for pair in min(missing or extra)) + "}"
        return f"{len(ours)} series, not {len(theirs)}: {'lacks' if missing else 'has'} {example}"
    if how == "shape":
        return None
    worst = None
    for labels, series in ours.items():
        worst = worse(worst, compare_series(labels, series, theirs[labels], tolerance))
    return worst and worst[1]


def compare_lists(ours, theirs, ignored):
    """Lists of label values, or of label sets."""
    if not isinstance(ours, list) or not isinstance(theirs, list):
        return "a list, and no list"
    key = lambda entry: entry if isinstance(entry, str) else labels_of(entry, ignored)
    ours, theirs = {key(entry) for entry in ours}, {key(entry) for entry in theirs}
    return None if ours == theirs else f"{len(ours)} entries, not {len(theirs)}: {min(ours ^ theirs)}"


def labels_of(metric, ignored):
    return tuple(sorted((name, value) for name, value in metric.items() if name not in ignored))


def by_labels(result, ignored):
    return {labels_of(series["metric"], ignored): series for series in result}


def points(series, name):
    """Samples of a kind by time, of either type of result."""
    single = [series[name]] if name in series else []
    return {round(t * 1000): value for t, value in series.get(name + "s", single)}


def worse(a, b):
    return b if a is None or (b is not None and b[0] > a[0]) else a


def compare_series(labels, ours, theirs, tolerance):
    """The worst difference with its size."""
    worst = None
    for name in ("value", "histogram"):
        mine, other = points(ours, name), points(theirs, name)
        if mine.keys() != other.keys():
            return math.inf, f"{len(mine)} points, not {len(other)}, in {dict(labels)}"
        for t, value in mine.items():
            if name == "histogram":
                difference = histogram_difference(value, other[t])
            else:
                difference = distance(value, other[t])
            if difference > tolerance:
                words = "a histogram" if name == "histogram" else f"{value}, not {other[t]}"
                worst = worse(worst, (difference, f"{words} at {t / 1000} in {dict(labels)}"))
    return worst


def histogram_difference(a, b):
    """Of count, sum and buckets."""
    a_buckets, b_buckets = a.get("buckets") or [], b.get("buckets") or []
    if len(a_buckets) != len(b_buckets):
        return math.inf
    pairs = [(a["count"], b["count"]), (a["sum"], b["sum"])]
    for mine, other in zip(a_buckets, b_buckets):
        if mine[0] != other[0]:
            return math.inf
        pairs += zip(mine[1:], other[1:])
    return max(distance(x, y) for x, y in pairs)


def distance(a, b):
    """The relative difference of two numbers as text; 0 for two NaNs."""
    if a == b:
        return 0.0
    a, b = float(a), float(b)
    if a == b or (math.isnan(a) and math.isnan(b)):
        return 0.0
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b))


def equal(a, b, tolerance):
    try:
        return distance(a, b) <= tolerance
    except ValueError:
        return a == b
