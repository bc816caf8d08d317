"""Time the vectorised labelling of 10,000 groups of 32 against plain Python, side by side in one process.

python benchmarks/algorithm.py
"""

import statistics
import time
from collections import Counter

import torch

from mgrpo.algorithm import label_group

P, M, N = 10_000, 24, 8
REPEATS = 9


def in_plain_python(answer_ids: list[list[int]], entropy: list[list[float]]) -> list[int]:
    """Filter and vote as one would write it first, with Counter, a group at a time."""
    labels = []
    for ids, h in zip(answer_ids, entropy, strict=True):
        ordered = sorted(h)
        q1, q3 = (
            ordered[i] + (place - i) * (ordered[i + 1] - ordered[i]) for place in (7.75, 23.25) for i in (int(place),)
        )
        voters = [(g, a) for g, a in enumerate(ids) if a >= 0 and h[g] >= q1 - 0.75 * (q3 - q1)]
        votes = Counter(a for _, a in voters)
        lagged = Counter(a for g, a in voters if g >= M)
        first = {a: g for g, a in reversed(voters)}
        labels.append(max(votes, key=lambda a: (votes[a], lagged[a], -first[a])) if votes else -1)
    return labels


def main() -> None:
    generator = torch.Generator().manual_seed(0)
    answer_ids = torch.randint(-1, 8, (P, M + N), generator=generator)
    entropy = torch.rand(P, M + N, generator=generator, dtype=torch.float64)
    as_lists = answer_ids.tolist(), entropy.tolist()
    assert label_group(answer_ids, M, entropy, 0.75).vote.pseudo_label.tolist() == in_plain_python(*as_lists)

    ratios, ours = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        label_group(answer_ids, M, entropy, 0.75)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        in_plain_python(*as_lists)
        ratios.append((time.perf_counter() - started) / ours[-1])
    print(
        f"{P} groups of {M + N}: {statistics.median(ratios):.0f} times faster than plain Python (median of {REPEATS})"
    )
    print(f"the vectorised call: {1e3 * statistics.median(ours):.0f} ms on {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
