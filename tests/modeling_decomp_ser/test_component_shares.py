import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_networks import VARIANTS, random_batch, tiny_classifier
from torch import nn
from torch.testing import assert_close

from modeling_decomp_ser import COMPONENTS
from modeling_decomp_ser.component_shares import (
    PARTS,
    chance_deletion_curve,
    class_log_odds,
    component_shares,
    deletion_curve,
    explain_prediction,
    shapley_values,
    subset_logits,
    subset_members,
)


def shares_of(model, batch):
    with torch.no_grad():
        return model.eval()(**batch, output_component_shares=True)


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_shares_sum_to_the_logit_and_missing_parts_have_none(variant, pooling):
    model = tiny_classifier(variant, pooling=pooling)
    output = shares_of(model, random_batch([20000, 9000]))
    assert output.component_shares.shape == (2, 6, 4)
    assert_close(output.component_shares.sum(1), output.logits, atol=1e-5, rtol=1e-5)
    present = {"bias"} | {
        c if c != "single" else "content" for c in VARIANTS[variant]["components"]
    }
    present |= {"wav2vec2"} if model.speech_encoder is not None else set()
    for i, name in enumerate(COMPONENTS):
        assert output.component_shares[:, i].any().item() == (name in present)


def test_the_order_of_parts_is_fixed():
    assert COMPONENTS == ("wav2vec2", "rhythm", "content", "pitch", "timbre", "bias")


def test_shares_by_hand():
    model = tiny_classifier("table2_pitch")
    head = nn.Linear(3, 1)
    head.load_state_dict(
        {"weight": torch.tensor([[1.0, 10.0, 100.0]]), "bias": torch.tensor([7.0])}
    )
    pooled, mean = torch.tensor([[3.0, 5.0, 2.0]]), torch.tensor([1.0, 1.0, 1.0])
    with torch.no_grad():
        shares = component_shares(pooled, mean, head, [2, 1], model.config)
    # wav2vec2 has the first two features, pitch the third; the bias is the logit of the mean
    assert shares[0, :, 0].tolist() == [2 * 1 + 4 * 10, 0, 0, 100, 0, 118]


def test_the_average_training_utterance_is_all_bias():
    model = tiny_classifier()
    batch = random_batch([20000])
    pooled = []
    model.emotion_head.register_forward_pre_hook(lambda _, args: pooled.append(args[0]))
    shares_of(model, batch)
    with torch.no_grad():
        model.pooled_mean.copy_(pooled[0][0])
    output = shares_of(model, batch)
    assert_close(output.component_shares[:, 5], output.logits)
    assert_close(output.component_shares[:, :5], torch.zeros(1, 5, 4), atol=1e-6, rtol=0)


def test_a_change_of_pitch_moves_the_share_of_pitch_alone():
    model = tiny_classifier()
    batch = random_batch([20000])
    before = shares_of(model, batch).component_shares
    batch["log_f0"] = 1 - batch["log_f0"]
    moved = (shares_of(model, batch).component_shares - before).abs().amax((0, 2)) > 1e-6
    assert [n for n, m in zip(COMPONENTS, moved, strict=True) if m] == ["pitch"]


# Shapley values.


def random_shares(seed: int, batch: int = 3, labels: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 6, labels, generator=generator, dtype=torch.float64)


def marginal_gains(values, order) -> torch.Tensor:
    """Gain of each part when they join in this order, by the definition; values (G,)."""
    gains, subset = torch.zeros(len(order), dtype=values.dtype), 0
    for part in order:
        gains[part] = values[subset | 1 << part] - values[subset]
        subset |= 1 << part
    return gains


@pytest.mark.parametrize("num_parts", [1, 2, 3, 5])
def test_shapley_values_are_the_mean_gain_over_all_orders_of_joining(num_parts):
    generator = torch.Generator().manual_seed(num_parts)
    values = torch.randn(2, 2**num_parts, generator=generator, dtype=torch.float64)
    orders = list(itertools.permutations(range(num_parts)))
    for row, found in zip(values, shapley_values(values), strict=True):
        assert_close(found, sum(marginal_gains(row, order) for order in orders) / len(orders))


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.01, 1.0, 100.0]))
def test_efficiency_base_and_parts_sum_to_the_answer(seed, scale):
    shares = scale * random_shares(seed)
    found = explain_prediction(shares)
    logits = shares.sum(1)
    probability, predicted = logits.softmax(-1).max(-1)
    assert found.predicted.equal(predicted)
    total = found.base_probability + found.probability.sum(1)
    assert_close(total, probability, atol=1e-9, rtol=0)
    # the odds of the answer by the other classes' own sum
    others = logits.exp().sum(1) - logits.amax(1).exp() if scale < 10 else None
    if others is not None:
        odds = found.base_log_odds + found.log_odds.sum(1)
        assert_close(odds, logits.amax(1) - others.log(), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("part", range(5))
def test_a_part_without_share_is_a_dummy(part):
    shares = random_shares(7)
    shares[:, part] = 0
    found = explain_prediction(shares)
    for values in (found.probability, found.log_odds):
        assert_close(values[:, part], torch.zeros(3).double(), atol=1e-12, rtol=0)
        assert (values[:, [p for p in range(5) if p != part]].abs() > 1e-4).all()


def test_a_share_that_is_equal_for_all_emotions_is_a_dummy():
    shares = random_shares(8)
    shares[:, 2] = shares[:, 2, :1]
    found = explain_prediction(shares)
    assert_close(found.probability[:, 2], torch.zeros(3).double(), atol=1e-12, rtol=0)


def test_parts_with_equal_shares_are_symmetric():
    shares = random_shares(9)
    shares[:, 3] = shares[:, 1]
    found = explain_prediction(shares)
    for values in (found.probability, found.log_odds):
        assert_close(values[:, 3], values[:, 1])
        assert (values[:, 3] - values[:, 0]).abs().min() > 1e-4


def test_exchanging_two_parts_exchanges_their_values():
    shares = random_shares(10)
    exchanged = shares[:, [0, 4, 2, 3, 1, 5]]
    before, after = explain_prediction(shares), explain_prediction(exchanged)
    assert_close(after.probability, before.probability[:, [0, 4, 2, 3, 1]])


def test_on_raw_logits_shapley_values_are_the_exact_shares():
    shares = random_shares(11)
    assert_close(shapley_values(subset_logits(shares)), shares[:, :5])


@pytest.mark.parametrize("variant", VARIANTS)
def test_subset_logits_are_the_head_on_features_replaced_by_their_mean(variant):
    model = tiny_classifier(variant).eval()
    with torch.no_grad():
        output = model(
            **random_batch([20000, 9000]), output_component_shares=True, output_pooled_features=True
        )
        logits = subset_logits(output.component_shares)
        single = [c if c != "single" else "content" for c in model.config.components]
        names = (["wav2vec2"] if model.speech_encoder is not None else []) + single
        assert output.pooled_features.shape == (2, sum(model.part_sizes))
        for subset in range(32):
            kept = torch.cat(
                [
                    torch.full((size,), bool(subset >> PARTS.index(name) & 1))
                    for name, size in zip(names, model.part_sizes, strict=True)
                ]
            )
            features = torch.where(kept, output.pooled_features, model.pooled_mean)
            assert_close(logits[:, subset], model.emotion_head(features), atol=1e-5, rtol=1e-5)


def test_a_planted_model_that_hears_pitch_alone_is_explained_by_pitch_alone():
    model = tiny_classifier().eval()
    start = sum(model.part_sizes[: PARTS.index("pitch")])
    with torch.no_grad():
        weight = torch.zeros_like(model.emotion_head.weight)
        pitch = slice(start, start + model.part_sizes[PARTS.index("pitch")])
        weight[:, pitch] = 10 * model.emotion_head.weight[:, pitch]
        model.emotion_head.weight.copy_(weight)
    found = explain_prediction(shares_of(model, random_batch([20000])).component_shares)
    assert found.probability[0].abs().gt(1e-6).tolist() == [p == "pitch" for p in PARTS]
    assert found.probability[0, 3] > 0.05


def test_log_odds_stay_finite_where_the_probability_rounds_to_one():
    odds = class_log_odds(torch.tensor([[60.0, 0.0, 0.0]]))
    assert_close(odds[0, 0], torch.tensor(60.0) - torch.tensor(2.0).log())


def test_a_temperature_divides_all_log_odds_of_two_classes_and_changes_no_decision():
    shares = random_shares(15, labels=2)
    sharp, mild = explain_prediction(shares), explain_prediction(shares, temperature=4.0)
    assert mild.predicted.equal(sharp.predicted)
    assert_close(mild.log_odds, sharp.log_odds / 4)
    total = mild.base_probability + mild.probability.sum(1)
    assert_close(total, (shares.sum(1) / 4).softmax(-1).amax(-1))


def test_explaining_does_not_depend_on_batch_mates():
    shares = random_shares(12)
    together = explain_prediction(shares)
    for row in range(3):
        alone = explain_prediction(shares[row : row + 1])
        assert_close(alone.probability[0], together.probability[row])
        assert_close(alone.log_odds[0], together.log_odds[row])


# Deletion curves.


def test_a_deletion_curve_by_hand():
    # two parts: none 0, the first 1, the second 4, both 10
    values = torch.tensor([[0.0, 1.0, 4.0, 10.0]])
    assert deletion_curve(values, torch.tensor([[1.0, 2.0]])).tolist() == [[10.0, 1.0, 0.0]]
    assert deletion_curve(values, torch.tensor([[2.0, 1.0]])).tolist() == [[10.0, 4.0, 0.0]]
    assert chance_deletion_curve(values).tolist() == [[10.0, 2.5, 0.0]]


def test_of_all_orders_that_of_the_shapley_values_deletes_an_additive_answer_fastest():
    values = subset_logits(random_shares(13))[..., 0]
    best = deletion_curve(values, shapley_values(values)).sum(1)
    areas = torch.stack(
        [
            deletion_curve(values, torch.tensor(order).expand(3, -1)).sum(1)
            for order in itertools.permutations(range(5))
        ]
    )
    assert_close(best, areas.amin(0))
    assert_close(chance_deletion_curve(values).sum(1), areas.mean(0))
    assert (best < areas.mean(0) - 0.1).all()


def test_the_true_explanation_deletes_faster_than_a_wrong_one_on_planted_models():
    shares = random_shares(14, batch=200)
    found = explain_prediction(shares)
    chance = chance_deletion_curve(found.subset_probability).mean(1)
    true = deletion_curve(found.subset_probability, found.probability).mean(1)
    wrong = deletion_curve(found.subset_probability, -found.probability).mean(1)
    assert (true < chance).float().mean() > 0.97
    assert (wrong > chance).float().mean() > 0.97


def test_subsets_are_counted_in_binary():
    members = subset_members(5)
    assert members.shape == (32, 5) and members[19].tolist() == [True, True, False, False, True]


def test_of_parts_of_one_importance_the_first_is_deleted_first():
    values = torch.tensor([[0.0, 1.0, 4.0, 10.0]])
    assert deletion_curve(values, torch.tensor([[1.0, 1.0]])).tolist() == [[10.0, 4.0, 0.0]]


def test_explanations_are_made_where_the_shares_are():
    # the meta device refuses tensors of any other
    found = explain_prediction(torch.empty(2, 6, 4, device="meta"))
    curve = chance_deletion_curve(found.subset_probability)
    assert {x.device.type for x in (*vars(found).values(), curve)} == {"meta"}
    assert curve.shape == (2, 6) and found.log_odds.shape == (2, 5)
