"""Windows: how a sequence is cut, by the original's rule."""


def windows(length: int, size: int) -> list[tuple[int, int]]:
    """Cut `length` bases into windows of `size`: 0-based, half-open spans that overlap evenly.

    The rule, its short last window included, is the original's: the overlap is shared among n windows
    although only n - 1 of them can be moved, so what rounding leaves over shortens the last one. The
    published classifiers were trained on windows cut this way.

    >>> windows(480, 500)
    [(0, 480)]
    >>> windows(1200, 500)
    [(0, 500), (399, 899), (798, 1200)]
    """
    if length < 1 or size < 1:
        raise ValueError(f"a window of {size} bases over {length} bases")
    count = -(-length // size)
    surplus = count * size - length
    low = surplus // count
    steps_of_one_more = surplus - low * (count - 1)
    spans = []
    shift = 0
    for i in range(count):
        start = i * size - shift
        spans.append((start, min(start + size, length)))
        shift += low + (i < steps_of_one_more)
    return spans
