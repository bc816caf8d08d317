"""Connected components: classes of equal answers, where equality need not be transitive."""

from collections.abc import Hashable

Classes = tuple[list[list[Hashable]], int]
"""A label for each different answer of each group, equal for equal ones, and how many answers failed."""


class Components:
    """Connected components of 0 .. n-1; the smallest member stands for its component."""

    def __init__(self, num: int) -> None:
        self._parent = list(range(num))

    def find(self, i: int) -> int:
        """The smallest member of i's component."""
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join(self, i: int, j: int) -> None:
        """Make one component of i's and j's."""
        first, second = sorted((self.find(i), self.find(j)))
        self._parent[second] = first
