import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from modeling_decomp_ser.masked_layers import (
    BiLSTM,
    MaskedGroupNorm,
    length_mask,
    masked_mean,
    masked_statistics,
    pad_steps,
    reverse_by_length,
    select_steps,
)

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=4)


@settings(max_examples=30, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 1000))
def test_group_norm_of_a_row_is_torchs_on_its_valid_steps(lengths, seed):
    torch.manual_seed(seed)
    norm, reference = MaskedGroupNorm(2, 6), nn.GroupNorm(2, 6)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    reference.load_state_dict(norm.state_dict())
    x = 3 + torch.randn(len(lengths), 6, max(lengths))
    y = norm(x, length_mask(torch.tensor(lengths), max(lengths)))
    for i, n in enumerate(lengths):
        assert_close(y[i : i + 1, :, :n], reference(x[i : i + 1, :, :n]), atol=1e-5, rtol=1e-5)


def test_group_norm_keeps_its_precision_far_from_zero_and_on_constants():
    torch.manual_seed(0)
    norm, reference = MaskedGroupNorm(1, 4), nn.GroupNorm(1, 4).double()
    for x in (100 + torch.randn(1, 4, 500), torch.full((1, 4, 500), 7.0)):
        y = norm(x, torch.ones(1, 500, dtype=torch.bool))
        assert_close(y.double(), reference(x.double()), atol=2e-4, rtol=0)


def test_group_norm_in_half_precision_counts_in_full():
    torch.manual_seed(0)
    norm = MaskedGroupNorm(4, 4).to(torch.bfloat16)
    x = torch.randn(1, 4, 20000)
    y = norm(x.to(torch.bfloat16), torch.ones(1, 20000, dtype=torch.bool))
    assert y.dtype == torch.bfloat16
    # 20000 is no bfloat16 number: counting in half precision is 0.2 % off, summing far more
    assert_close(
        y.float(), MaskedGroupNorm(4, 4)(x, torch.ones(1, 20000).bool()), atol=0.03, rtol=0
    )
    assert abs(y.float().std() - 1) < 5e-3


def test_group_norm_has_the_gradient_of_torchs():
    torch.manual_seed(0)
    norm, reference = MaskedGroupNorm(2, 4), nn.GroupNorm(2, 4)
    x = torch.randn(1, 4, 7)
    grads = []
    for layer, arguments in ((norm, (torch.ones(1, 7, dtype=torch.bool),)), (reference, ())):
        own = x.clone().requires_grad_()
        (layer(own, *arguments) * torch.arange(7)).sum().backward()
        grads.append((own.grad, layer.weight.grad, layer.bias.grad))
    assert_close(grads[0], grads[1], atol=1e-4, rtol=1e-4)


def copy_to_packed(lstm: BiLSTM) -> nn.LSTM:
    """The same weights in torch's own bidirectional LSTM."""
    first = lstm.forward_layers[0]
    packed = nn.LSTM(
        first.input_size,
        first.hidden_size,
        len(lstm.forward_layers),
        batch_first=True,
        bidirectional=True,
    )
    state = {}
    for direction, suffix in ((lstm.forward_layers, ""), (lstm.backward_layers, "_reverse")):
        for i, layer in enumerate(direction):
            for name, value in layer.state_dict().items():
                state[name.replace("_l0", f"_l{i}") + suffix] = value
    packed.load_state_dict(state)
    return packed


@settings(max_examples=15, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 1000), layers=st.integers(1, 3))
def test_blstm_equals_torchs_on_packed_sequences(lengths, seed, layers):
    torch.manual_seed(seed)
    lstm = BiLSTM(3, 5, num_layers=layers)
    assert len(lstm.forward_layers) == len(lstm.backward_layers) == layers
    x = torch.randn(len(lengths), max(lengths), 3)
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(copy_to_packed(lstm)(packed)[0], batch_first=True)
    states = lstm(x, torch.tensor(lengths))
    mask = length_mask(torch.tensor(lengths), max(lengths))
    assert_close(states[mask], expected[mask], atol=1e-6, rtol=1e-5)


def test_blstm_does_not_read_padding():
    lstm = BiLSTM(3, 5, num_layers=2)
    x, lengths = torch.randn(2, 9, 3), torch.tensor([9, 4])
    garbage = x.clone()
    garbage[1, 4:] = 1e3
    assert torch.equal(lstm(x, lengths)[1, :4], lstm(garbage, lengths)[1, :4])


def test_reversing_turns_valid_steps_only_and_twice_is_the_identity():
    x = torch.arange(10.0).reshape(2, 5, 1)
    lengths = torch.tensor([5, 2])
    assert reverse_by_length(x, lengths)[..., 0].tolist() == [[4, 3, 2, 1, 0], [6, 5, 7, 8, 9]]
    assert torch.equal(reverse_by_length(reverse_by_length(x, lengths), lengths), x)


def test_selecting_steps_equals_a_loop():
    x, index = torch.randn(3, 7, 2), torch.randint(7, (3, 4))
    chosen = select_steps(x, index)
    for b in range(3):
        for k in range(4):
            assert torch.equal(chosen[b, k], x[b, index[b, k]])


def test_pooling_by_hand():
    x = torch.tensor([[[1.0, 5.0], [3.0, 1.0], [99.0, 99.0]]])
    assert masked_mean(x, torch.tensor([2])).tolist() == [[2.0, 3.0]]
    expected = torch.tensor([[2.0, 3.0, 1.0, 2.0, 3.0, 5.0]])
    assert_close(masked_statistics(x, torch.tensor([2])), expected)


@pytest.mark.parametrize("pool", [masked_mean, masked_statistics])
def test_pooling_ignores_any_padding_and_has_a_gradient_at_one_step(pool):
    x = torch.randn(2, 6, 3)
    x[:, 1:] = float("nan")
    x.requires_grad_()
    pooled = pool(x[:, :1], torch.tensor([1, 1]))
    assert_close(pool(x, torch.tensor([1, 1])), pooled)
    pooled.sum().backward()
    assert x.grad[:, 0].isfinite().all() and (x.grad[:, 0] != 0).any()


def test_padding_steps_cuts_and_fills():
    assert pad_steps(torch.ones(1, 2), 3).tolist() == [[1, 1, 0]]
    assert pad_steps(torch.ones(1, 2, 1), 1).tolist() == [[[1]]]


@pytest.mark.parametrize("pool", [masked_mean, masked_statistics])
def test_pooling_sums_in_full_precision_and_keeps_the_type(pool):
    x = 1 + torch.arange(20000.0).remainder(2)[None, :, None]  # 1 and 2 in turn
    wanted = [1.5] if pool is masked_mean else [1.5, 0.5, 2.0]
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        pooled = pool(x.to(dtype), torch.tensor([20000]))
        assert pooled.dtype == dtype and pooled[0].tolist() == pytest.approx(wanted, rel=1e-5)
    # what float32 would round off
    fine = pool(x.double() + 1e-12, torch.tensor([20000]))[0, 0]
    assert float(fine) - 1.5 == pytest.approx(1e-12, rel=0.01)


def test_group_norm_in_double_precision_counts_in_double():
    torch.manual_seed(0)
    norm, reference = MaskedGroupNorm(2, 4).double(), nn.GroupNorm(2, 4).double()
    x = torch.randn(1, 4, 50).double()
    assert_close(norm(x, torch.ones(1, 50, dtype=torch.bool)), reference(x), atol=1e-12, rtol=0)


def test_layers_compute_where_their_input_is():
    # the meta device refuses tensors of any other
    x, lengths = torch.empty(2, 5, 4, device="meta"), torch.ones(2, device="meta").long()
    found = [
        length_mask(lengths, 5),
        select_steps(x, torch.ones(2, 3, device="meta").long()),
        reverse_by_length(x, lengths),
        masked_statistics(x, lengths),
    ]
    assert {y.device.type for y in found} == {"meta"}
