import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train_scripts.training.step_batches import StepBatches


def batches(
    num_turns, *, batch_size=4, accumulation=1, processes=1, rank=0, seed=7, epoch=0, **more
):
    return StepBatches(
        num_turns, batch_size, accumulation, processes, rank, seed, lambda: epoch, **more
    )


def steps_of(num_turns, *, processes, accumulation, **more):
    """Turns of each optimiser step, over all processes."""
    loaders = [
        batches(num_turns, processes=processes, accumulation=accumulation, rank=rank, **more)
        for rank in range(processes)
    ]
    of_rank = [list(loader) for loader in loaders]
    assert {len(b) for b in of_rank} == {len(loader) for loader in loaders}, "processes would wait"
    starts = range(0, len(of_rank[0]), accumulation)
    return [
        [i for b in of_rank for batch in b[k : k + accumulation] for i in batch] for k in starts
    ]


shapes = {"num_turns": st.integers(1, 70), "grouped": st.booleans(), "epoch": st.integers(0, 3)}


@settings(deadline=None)
@given(**shapes, batch_size=st.integers(1, 5), accumulation=st.integers(1, 3))
def test_an_epoch_holds_every_turn_once(num_turns, grouped, epoch, batch_size, accumulation):
    lengths = np.arange(num_turns) % 5 + 1.0 if grouped else None
    found = list(
        batches(
            num_turns,
            batch_size=batch_size,
            accumulation=accumulation,
            lengths=lengths,
            epoch=epoch,
        )
    )
    assert sorted(i for batch in found for i in batch) == list(range(num_turns))
    assert all(1 <= len(batch) <= batch_size for batch in found)


@settings(deadline=None)
@given(**shapes, batch_size=st.integers(1, 5))
def test_two_processes_take_the_turns_that_one_would_accumulate(
    num_turns, grouped, epoch, batch_size
):
    lengths = np.sin(np.arange(num_turns)) + 2 if grouped else None
    shared = {"batch_size": batch_size, "lengths": lengths, "epoch": epoch}
    one = steps_of(num_turns, processes=1, accumulation=2, **shared)
    two = steps_of(num_turns, processes=2, accumulation=1, **shared)
    assert len(one) == len(two)
    for whole, parts in zip(one, two, strict=True):
        # a single turn that is left goes to both, which leaves its mean loss as it is
        assert sorted(whole) == sorted(parts) or whole * 2 == parts


def test_epochs_and_seeds_differ_and_repeat():
    first, again, later = (list(batches(40, epoch=e)) for e in (0, 0, 1))
    other = list(batches(40, seed=8))
    assert first == again
    assert first != later and first != other and later != other


@settings(deadline=None)
@given(**shapes, batch_size=st.integers(1, 5), accumulation=st.integers(1, 3), n=st.integers(2, 4))
def test_processes_share_the_turns_of_a_step_evenly_and_no_turn_is_in_two(
    num_turns, grouped, epoch, batch_size, accumulation, n
):
    lengths = np.sin(np.arange(num_turns)) + 2 if grouped else None
    options = {"batch_size": batch_size, "lengths": lengths, "epoch": epoch}
    steps = steps_of(num_turns, processes=n, accumulation=accumulation, **options)
    for step in steps[:-1]:
        assert len(step) == batch_size * accumulation * n
    taken = [turn for step in steps for turn in step]
    last = len(set(steps[-1]))
    # only where fewer turns are left than there are processes, some of them are taken again
    assert sorted(set(taken)) == list(range(num_turns))
    assert len(taken) == (num_turns if last >= n else num_turns - last + n)
    ranks = [
        list(batches(num_turns, processes=n, accumulation=accumulation, rank=r, **options))
        for r in range(n)
    ]
    for parts in zip(*ranks, strict=True):
        sizes = [len(part) for part in parts]
        # a batch of one turn may become one of two, so that no process is left without
        assert max(sizes) - min(sizes) <= 1 <= min(sizes) and max(sizes) <= max(batch_size, 2)


@pytest.mark.parametrize(
    ("num_turns", "batch_size", "processes", "rank", "expected"),
    # 10 turns of 2 processes with batches of 2: steps of 4, 4 and 2 turns
    [
        (10, 2, 2, 0, [[0, 1], [4, 5], [8]]),
        (10, 2, 2, 1, [[2, 3], [6, 7], [9]]),
        (7, 4, 3, 2, [[5, 6]]),
        (1, 4, 3, 2, [[0]]),
    ],
)
def test_a_step_is_dealt_out_in_its_order(num_turns, batch_size, processes, rank, expected):
    order = [i for batch in batches(num_turns, batch_size=num_turns) for i in batch]
    dealt = batches(num_turns, batch_size=batch_size, processes=processes, rank=rank)
    assert [[order.index(i) for i in batch] for batch in dealt] == expected


# pieces: 50 steps, or a quarter of the steps of a small data set
@pytest.mark.parametrize(("num_turns", "piece"), [(70, 16), (2000, 200), (1003, 200), (9, 4)])
def test_grouped_steps_are_cut_from_pieces_of_the_random_order_by_length(num_turns, piece):
    lengths = np.random.default_rng(1).permutation(num_turns) + 1.0
    order = [i for batch in batches(num_turns) for i in batch]
    pieces = [set(order[k : k + piece]) for k in range(0, num_turns, piece)]
    *whole, last = batches(num_turns, lengths=lengths)
    assert len(last) == (num_turns - 1) % 4 + 1
    of_piece = {}
    for step in [*whole, last]:
        (index,) = [k for k, turns in enumerate(pieces) if turns & set(step)]
        assert set(step) <= pieces[index]
        assert lengths[step].tolist() == sorted(lengths[step], reverse=True)
        of_piece.setdefault(index, []).append((lengths[step].min(), lengths[step].max()))
    for ranges in of_piece.values():
        ranges.sort()
        assert all(a[1] < b[0] for a, b in zip(ranges, ranges[1:], strict=False))
    # the turns that are left are the shortest of the last piece
    assert lengths[last].max() <= min(r[1] for r in of_piece[len(pieces) - 1])
    assert lengths.argmax() in whole[0]


def test_turns_of_one_length_stay_in_random_order():
    lengths = np.arange(1000) % 3
    order = [i for batch in batches(1000) for i in batch]
    for step in batches(1000, lengths=lengths):
        for length in range(3):
            places = [order.index(i) for i in step if lengths[i] == length]
            assert places == sorted(places)


def test_the_length_of_an_epoch_is_the_number_of_its_batches():
    # steps of 2 x 3 batches of 2 turns; 7 turns are left: 2 batches of each of the 2 processes
    loader = batches(31, batch_size=2, accumulation=3, processes=2)
    assert len(loader) == len(list(loader)) == 2 * 3 + 2


@pytest.mark.parametrize("batch_size", [4, 8])
def test_grouped_lengths_differ_little_within_a_batch_and_the_longest_comes_first(batch_size):
    lengths = np.random.default_rng(0).lognormal(1.3, 0.7, 2000)
    padding = {}
    for name, given_lengths in (("random", None), ("grouped", lengths)):
        found = list(batches(2000, batch_size=batch_size, lengths=given_lengths))
        padded = sum(len(b) * lengths[b].max() for b in found)
        padding[name] = padded / lengths.sum()
    assert padding["random"] > 1.6
    assert padding["grouped"] < 1.1
    assert lengths.argmax() in found[0]
    # not from long to short, which would teach the network the length of what comes next
    means = [lengths[b].mean() for b in found]
    assert abs(np.corrcoef(means[1:-1], np.arange(len(means) - 2))[0, 1]) < 0.15


@pytest.mark.parametrize("lengths", [None, list(range(100))])
def test_groups_are_drawn_by_their_shares(lengths):
    groups = ["small"] * 20 + ["large"] * 80
    epochs = iter(range(2))
    batches = StepBatches(
        num_turns=100,
        batch_size=8,
        accumulation=1,
        processes=1,
        rank=0,
        seed=0,
        epoch=lambda: next(epochs),
        lengths=lengths,
        groups=groups,
        shares={"small": 0.5, "large": 0.5},
    )
    of_epoch = []
    for _ in range(2):
        drawn = [turn for batch in batches for turn in batch]
        small = [turn for turn in drawn if groups[turn] == "small"]
        assert len(drawn) == 100 and len(small) == 50
        # every turn of the small group is gone through twice, and half of it once more
        assert sorted({small.count(turn) for turn in range(20)}) == [2, 3]
        of_epoch.append({turn for turn in drawn if groups[turn] == "large"})
    assert of_epoch[0] != of_epoch[1] and len(of_epoch[0]) == 50


def test_lengths_may_be_those_of_the_epoch():
    lengths = {0: np.arange(40.0), 1: np.arange(40.0)[::-1]}
    for epoch, own in lengths.items():
        found = list(batches(40, lengths=lambda own=own: own, epoch=epoch))
        assert found == list(batches(40, lengths=own, epoch=epoch))
