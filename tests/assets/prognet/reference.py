"""A plain restatement of ProgNet (arXiv 1706.03256), as a notebook would have it: no part of the
package, one loop, whole batches in a random order. The test compares scores with it on a tiny fold.
"""

import torch
from torch import nn


class Stack(nn.Module):
    """Four sigmoid layers and an output; with `lateral`, a second set of weights reads the layers
    of a stack that was trained before.
    """

    def __init__(self, inputs, outputs, hidden, lateral):
        super().__init__()
        self.w1, self.w2 = nn.Linear(inputs, hidden), nn.Linear(hidden, hidden)
        self.w3, self.w4 = nn.Linear(hidden, hidden), nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, outputs)
        if lateral:
            self.u2, self.u3, self.u4 = (nn.Linear(hidden, hidden, bias=False) for _ in "234")
            self.u_out = nn.Linear(hidden, outputs, bias=False)
        self.lateral = lateral
        for weights in self.parameters():
            if weights.ndim == 2:
                nn.init.xavier_uniform_(weights)
            else:
                nn.init.zeros_(weights)

    def layers(self, x, before=None, p=0.0):
        def drop(values):
            return nn.functional.dropout(values, p, training=p > 0)

        h1 = torch.sigmoid(self.w1(x))
        h2 = torch.sigmoid(drop(self.w2(h1)) + (drop(self.u2(before[0])) if before else 0))
        h3 = torch.sigmoid(drop(self.w3(h2)) + (drop(self.u3(before[1])) if before else 0))
        h4 = torch.sigmoid(drop(self.w4(h3)) + (drop(self.u4(before[2])) if before else 0))
        return h1, h2, h3, h4

    def scores(self, x, before=None, p=0.0):
        h4 = self.layers(x, before, p)[3]
        return self.out(h4) + (self.u_out(before[3]) if before else 0)


def recall(scores, labels):
    """Mean recall of the classes."""
    answers = scores.argmax(1)
    return sum((answers[labels == c] == c).float().mean() for c in labels.unique()) / len(
        labels.unique()
    )


def learn(stack, before_of, x, y, x_valid, y_valid, *, epochs, rate, batch=64, p=0.5):
    """Adam with balanced classes; the weights of the best epoch on the validation turns."""
    counts = torch.bincount(y)
    weights = len(y) / (len(counts) * counts.float())
    optimizer = torch.optim.Adam(stack.parameters(), lr=rate)
    best, best_recall = None, -1.0
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = rate if epoch < epochs / 2 else rate / 20
        for rows in torch.randperm(len(x)).split(batch):
            scores = stack.scores(x[rows], before_of(x[rows]), p)
            loss = nn.functional.cross_entropy(scores, y[rows], weight=weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            found = recall(stack.scores(x_valid, before_of(x_valid)), y_valid)
        if found > best_recall:
            best, best_recall = {k: v.clone() for k, v in stack.state_dict().items()}, found
    stack.load_state_dict(best)


def run(train, validation, test, *, hidden, epochs, rate=1e-3, batch=64, p=0.5, seed=0):
    """UAR of the test turns; each split is (features, emotions, genders)."""
    torch.manual_seed(seed)
    mean, deviation = train[0].mean(0), train[0].std(0)
    x, x_valid, x_test = ((split[0] - mean) / deviation for split in (train, validation, test))
    first = Stack(x.shape[1], 2, hidden, lateral=False)
    options = {"epochs": epochs, "rate": rate, "batch": batch, "p": p}
    learn(first, lambda x: None, x, train[2], x_valid, validation[2], **options)

    def before(x):
        with torch.no_grad():
            return first.layers(x)

    second = Stack(x.shape[1], int(train[1].max()) + 1, hidden, lateral=True)
    learn(second, before, x, train[1], x_valid, validation[1], **options)
    with torch.no_grad():
        return float(recall(second.scores(x_test, before(x_test)), test[1]))
