"""A plain restatement of ResLSTM-SA (arXiv 2606.03359), as a notebook would have it: no part of the
package, packed sequences instead of masks. The test compares scores with it on a tiny fold.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence


class Network(nn.Module):
    """LSTM with its input added, LSTM, attention, linear."""

    def __init__(self, inputs, hidden, classes, p):
        super().__init__()
        self.lstm1, self.lstm2 = nn.LSTM(inputs, inputs), nn.LSTM(inputs, hidden)
        self.norm1, self.norm2 = nn.BatchNorm1d(inputs), nn.BatchNorm1d(hidden)
        self.attention = nn.Parameter(torch.empty(hidden, 1))
        self.linear, self.drop = nn.Linear(hidden, classes), nn.Dropout(p)
        nn.init.xavier_normal_(self.attention)
        for lstm in (self.lstm1, self.lstm2):
            nn.init.xavier_normal_(lstm.weight_ih_l0)
            nn.init.orthogonal_(lstm.weight_hh_l0)
            for bias in (lstm.bias_ih_l0, lstm.bias_hh_l0):
                nn.init.zeros_(bias)
                bias.data[lstm.hidden_size : 2 * lstm.hidden_size] = 1

    def forward(self, turns):
        packed = pack_sequence(turns, enforce_sorted=False)
        first = self.lstm1(packed)[0]
        # the frames of all turns, one after another, without padding
        data = self.norm1(first.data + packed.data)
        second = self.lstm2(packed._replace(data=data))[0]
        states, lengths = pad_packed_sequence(second, batch_first=True)
        pooled = []
        for state, length in zip(states, lengths, strict=True):
            state = state[:length]
            weights = torch.softmax(state @ self.attention, dim=0)
            pooled.append((weights * state).sum(0))
        return self.linear(self.drop(self.norm2(torch.stack(pooled))))


def recall(scores, labels):
    """Mean recall of the classes."""
    answers = scores.argmax(1)
    return sum((answers[labels == c] == c).float().mean() for c in labels.unique()) / len(
        labels.unique()
    )


def run(train, validation, test, *, hidden, epochs, rate, decay, p, restart, batch=32, seed=0):
    """UAR of the test turns; each split is (list of (T, D), labels)."""
    torch.manual_seed(seed)
    frames = torch.cat(train[0])
    mean, deviation = frames.mean(0), frames.std(0)
    x, x_valid, x_test = ([(t - mean) / deviation for t in s[0]] for s in (train, validation, test))
    network = Network(len(mean), hidden, int(train[1].max()) + 1, p)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, weight_decay=decay)
    rates = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, restart, eta_min=rate / 100
    )
    best, best_recall = None, -1.0
    for _ in range(epochs):
        network.train()
        for rows in torch.randperm(len(x)).split(batch):
            loss = nn.functional.cross_entropy(network([x[i] for i in rows]), train[1][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        rates.step()
        network.eval()
        with torch.no_grad():
            found = recall(network(x_valid), validation[1])
        if found > best_recall:
            best, best_recall = {k: v.clone() for k, v in network.state_dict().items()}, found
    network.load_state_dict(best)
    network.eval()
    with torch.no_grad():
        return float(recall(network(x_test), test[1]))
