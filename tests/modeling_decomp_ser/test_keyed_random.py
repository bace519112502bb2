import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_decomp_ser.keyed_random import draw_keys, fold_in, mix, uniform


def test_the_hash_is_splitmix64():
    # first outputs of the generator with seed 1234567, as published with its reference
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    gamma = 0x9E3779B97F4A7C15
    states = [(1234567 + (i + 1) * gamma) % 2**64 for i in range(3)]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    assert [int(x) % 2**64 for x in mix(signed)] == expected


GAMMA = 0x9E3779B97F4A7C15


def split_mix(state):
    """SplitMix64's finaliser in Python's own integers."""
    z = state % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


@given(key=st.integers(-(2**63), 2**63 - 1), number=st.integers(0, 2**40))
def test_draws_and_derived_keys_stay_what_they_are(key, number):
    draws = [(split_mix(key + k * GAMMA) >> 40) / 2**24 for k in (1, 2, 3)]
    assert uniform(torch.tensor([key]), 3).tolist() == [draws]
    derived = int(fold_in(torch.tensor([key]), number)[0])
    assert derived % 2**64 == split_mix(key + (number + 1) * GAMMA % 2**63)


def test_draws_are_made_where_the_keys_are():
    # the meta device refuses tensors of any other
    keys = draw_keys(3, device="meta")
    assert uniform(fold_in(keys, 1), 5).device.type == "meta"


def test_a_row_does_not_depend_on_its_batch_or_on_the_number_of_draws():
    keys = torch.tensor([3, -9, 2**61, 0])
    together = uniform(keys, 50)
    for i, key in enumerate(keys):
        assert torch.equal(uniform(key[None], 7)[0], together[i, :7])


def test_draws_are_uniform_in_the_unit_interval():
    draws = uniform(torch.arange(2000), 50).double().flatten()
    assert 0 <= draws.min() < 1e-3 and 1 - 1e-3 < draws.max() < 1
    counts = torch.histc(draws, bins=20, min=0, max=1)
    chi_squared = ((counts - 5000) ** 2 / 5000).sum()
    assert 4 < chi_squared < 44  # 19 degrees of freedom: 1e-4 either side


def test_neighbouring_keys_streams_and_draws_are_uncorrelated():
    keys = torch.arange(5000)
    draws = uniform(keys, 3).double()
    columns = [draws[:, 0], draws[:, 1], draws[1:, 0], uniform(fold_in(keys, 0), 1)[:, 0].double()]
    for i, a in enumerate(columns):
        for b in columns[i + 1 :]:
            n = min(len(a), len(b))
            correlation = np.corrcoef(a[:n], b[:n])[0, 1]
            assert abs(correlation) < 5 / np.sqrt(n)


def test_folding_in_other_numbers_gives_other_keys_and_order_matters():
    keys = torch.arange(100)
    derived = torch.cat([keys, *(fold_in(keys, n) for n in (0, 1, 2, 7))])
    assert len(derived.unique()) == len(derived)
    assert not torch.equal(fold_in(fold_in(keys, 1), 2), fold_in(fold_in(keys, 2), 1))


def test_fresh_keys_follow_the_generator_and_differ():
    first = draw_keys(64, torch.Generator().manual_seed(0))
    assert torch.equal(first, draw_keys(64, torch.Generator().manual_seed(0)))
    assert len(first.unique()) == 64
