"""The network stated once more as plain loops over numbers, for one utterance in evaluation."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolve(x, weight, bias):
    """(T, D) -> (T, C), kernel odd, zeros around."""
    channels, _, kernel = weight.shape
    out = np.zeros((len(x), channels))
    for t in range(len(x)):
        for k in range(kernel):
            source = t + k - kernel // 2
            if 0 <= source < len(x):
                out[t] += weight[:, :, k] @ x[source]
    return out + bias


def group_norm(x, groups, weight, bias):
    out = np.zeros_like(x)
    size = x.shape[1] // groups
    for g in range(groups):
        part = x[:, g * size : (g + 1) * size]
        out[:, g * size : (g + 1) * size] = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
    return out * weight + bias


def lstm(x, weights, prefix):
    """One direction, one layer; gates in torch's order i, f, g, o."""
    w_in, w_state = weights[prefix + "weight_ih_l0"], weights[prefix + "weight_hh_l0"]
    bias = weights[prefix + "bias_ih_l0"] + weights[prefix + "bias_hh_l0"]
    hidden = cell = np.zeros(w_state.shape[1])
    states = []
    for frame in x:
        i, f, g, o = np.split(w_in @ frame + w_state @ hidden + bias, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        states.append(hidden)
    return np.stack(states)


def blstm(x, weights, prefix, layers):
    for i in range(layers):
        ahead = lstm(x, weights, f"{prefix}forward_layers.{i}.")
        back = lstm(x[::-1], weights, f"{prefix}backward_layers.{i}.")[::-1]
        x = np.concatenate([ahead, back], axis=1)
    return x


def encode(x, weights, prefix, *, conv_layers, lstm_layers, channels_per_group, block):
    """(T, D) -> codes (ceil(T / block), 2 H)."""
    for i in range(conv_layers):
        at = f"{prefix}blocks.{i}."
        x = convolve(x, weights[at + "conv.weight"], weights[at + "conv.bias"])
        groups = x.shape[1] // channels_per_group
        x = group_norm(x, groups, weights[at + "norm.weight"], weights[at + "norm.bias"])
        x = np.maximum(x, 0)
    states = blstm(x, weights, f"{prefix}lstm.", lstm_layers)
    half = states.shape[1] // 2
    codes = []
    for begin in range(0, len(x), block):
        end = min(begin + block - 1, len(x) - 1)
        codes.append(np.concatenate([states[end, :half], states[begin, half:]]))
    return np.stack(codes)


def one_hot_pitch(log_f0, voiced, bins=256):
    out = np.zeros((len(log_f0), bins + 1))
    for t, (value, is_voiced) in enumerate(zip(log_f0, voiced, strict=True)):
        klass = 1 + int(np.rint(np.float32(value) * (bins - 1))) if is_voiced and value > 0 else 0
        out[t, klass] = 1
    return out


def decompose(mel, log_f0, voiced, weights, config):
    inputs = dict.fromkeys(("rhythm", "content", "timbre", "single"), mel)
    inputs["pitch"] = one_hot_pitch(log_f0, voiced)
    return {
        name: encode(
            inputs[name],
            weights,
            f"decomposition.encoders.{name}.",
            conv_layers=getattr(config, f"{name}_conv_layers"),
            lstm_layers=getattr(config, f"{name}_lstm_layers"),
            channels_per_group=config.conv_channels_per_group,
            block=config.downsampling,
        )
        for name in config.components
    }


def reconstruct(codes, num_frames, weights, config):
    joined = np.concatenate(list(codes.values()), axis=1)
    frames = np.repeat(joined, config.downsampling, axis=0)[:num_frames]
    states = blstm(frames, weights, "decomposition.decoder.lstm.", config.decoder_layers)
    return linear(states, weights, "decomposition.decoder.linear.")


def linear(x, weights, prefix):
    return x @ weights[prefix + "weight"].T + weights[prefix + "bias"]
