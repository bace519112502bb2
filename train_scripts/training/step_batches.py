"""Which turns each optimiser step trains on, the same for any number of processes and after any
interruption.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

MEGABATCH_STEPS = 50
"""Steps whose turns are sorted by length together: their lengths then differ little within a step,
while the steps of an epoch still mix all turns."""


@dataclass
class StepBatches(Sampler[list[int]]):
    """Batches of one process, drawn from the seed and the epoch alone.

    An epoch is a random order of all turns, cut into steps; grouped by length, turns are sorted
    within pieces of the order of MEGABATCH_STEPS steps first, and the steps come in random order.
    Each step is dealt out to the batches of all processes, so that its turns are the same whether
    two processes take a batch each or one process accumulates two. The last step of an epoch holds
    the turns that are left; where they are fewer than the processes, some take the same turn.

    With shares, an epoch has as many turns, but draws each group as its share says: one that is
    drawn more often than it has turns is gone through again in another order, of one that is drawn
    less often another part comes each epoch.

    Args:
        num_turns: of the data set.
        batch_size: turns of a batch.
        accumulation: batches of a step in each process.
        processes: that share a step.
        rank: of this process.
        seed: of the order.
        epoch: gives the epoch that an iteration is for.
        lengths: of the turns, in any unit, to group by length, or what gives those of the epoch;
            None for a random order.
        groups: name of the group of each turn, such as its corpus; only with shares.
        shares: share of each group of the draws, with a sum of 1; None draws every turn once.
    """

    num_turns: int
    batch_size: int
    accumulation: int
    processes: int
    rank: int
    seed: int
    epoch: Callable[[], int]
    lengths: Sequence[float] | Callable[[], Sequence[float]] | None = None
    groups: Sequence[str] | None = None
    shares: Mapping[str, float] | None = None

    def __len__(self) -> int:
        steps, left = divmod(self.num_turns, self.step_size)
        return steps * self.accumulation + (self.batches_of_step(left) if left else 0)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.order():
            batches = self.batches_of_step(len(step))
            if len(step) < self.processes:
                step = np.resize(step, self.processes)
            parts = np.array_split(step, batches * self.processes)
            for part in parts[self.rank :: self.processes]:
                yield part.tolist()

    @property
    def step_size(self) -> int:
        """Turns of a step."""
        return self.batch_size * self.accumulation * self.processes

    def batches_of_step(self, num_turns: int) -> int:
        """Batches of each process in a step, none of them empty."""
        wanted = -(-num_turns // (self.batch_size * self.processes))
        return max(1, min(wanted, num_turns // self.processes))

    def order(self) -> list[np.ndarray]:
        """Turns of each step of this epoch."""
        random = np.random.default_rng([self.seed, self.epoch()])
        turns = self.draw(random)
        if self.lengths is None:
            return self.cut(turns, self.step_size)
        lengths = np.asarray(self.lengths() if callable(self.lengths) else self.lengths)
        pieces = self.cut(turns, self.step_size * self.megabatch_steps())
        turns = np.concatenate([p[np.argsort(-lengths[p], kind="stable")] for p in pieces])
        *whole, last = self.cut(turns, self.step_size)
        whole = [whole[i] for i in random.permutation(len(whole))]
        # a step that needs more memory than there is fails at once, not after an hour
        longest = lengths[turns].max()
        whole.sort(key=lambda step: longest not in lengths[step])
        return [*whole, last]

    def draw(self, random: np.random.Generator) -> np.ndarray:
        """Turns of this epoch in a random order."""
        if self.shares is None:
            return random.permutation(self.num_turns)
        groups = np.asarray(self.groups)
        drawn = []
        for name, count in whole_numbers(self.shares, self.num_turns).items():
            members = np.flatnonzero(groups == name)
            rounds = -(-count // len(members))
            orders = [random.permutation(members) for _ in range(rounds)]
            drawn += [np.concatenate(orders)[:count]] if rounds else []
        return random.permutation(np.concatenate(drawn))

    def megabatch_steps(self) -> int:
        """Steps that are sorted together; small data sets are cut into four pieces at least."""
        return max(1, min(MEGABATCH_STEPS, self.num_turns // (4 * self.step_size)))

    @staticmethod
    def cut(turns: np.ndarray, size: int) -> list[np.ndarray]:
        """Pieces of an order, the last one maybe shorter."""
        return [turns[i : i + size] for i in range(0, len(turns), size)]


def whole_numbers(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Shares of a total as whole numbers with that sum; the largest remainders are rounded up.

    Examples:
        >>> whole_numbers({"nemo": 0.5, "ravdess": 0.5}, 7)
        {'nemo': 4, 'ravdess': 3}
    """
    exact = {name: share * total for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
