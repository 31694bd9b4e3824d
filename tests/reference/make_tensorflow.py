"""Makes tensorflow.npz: networks, Gram matrices, transforms and measures as TensorFlow has them.

    pip install tensorflow-cpu==2.21.0 && python tests/reference/make_tensorflow.py

Written from the definitions of arXiv 2105.10585; TensorFlow's own layers, gradients, central crop, resize and
projective transform (the operation behind tfa.image.rotate and tfa.image.translate) do the work, so that the test
in this folder compares this package with an implementation that shares no code with it.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf

SIDE, IMAGES = 28, 6


def projective(x, matrix):
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=x,
        transforms=tf.constant([matrix], tf.float32),
        output_shape=x.shape[1:3],
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=0.0,
    ).numpy()


def rotated(x, angle_rad):
    c, s, last = np.cos(angle_rad), np.sin(angle_rad), SIDE - 1
    return projective(x, [c, -s, (last - (c * last - s * last)) / 2, s, c, (last - (s * last + c * last)) / 2, 0, 0])


def shifted(x, dx, dy):
    return projective(x, [1, 0, -dx, 0, 1, -dy, 0, 0])


def zoomed(x):
    return tf.image.resize(tf.image.central_crop(x, 13.0 / 14.0), [SIDE, SIDE]).numpy()


def swapped(x):
    half, y = SIDE // 2, x.copy()
    y[:, :half, :half], y[:, half:, half:] = x[:, half:, half:], x[:, :half, :half]
    return y


VERSIONS = {
    "shift": lambda x: [shifted(x, 1, 0), shifted(x, 0, 1)],
    "rotation": lambda x: [rotated(x, 0.25), rotated(x, -0.25)],
    "zoom": lambda x: [zoomed(x)],
    "swap": lambda x: [swapped(x)],
}


def network(name):
    layers = tf.keras.layers
    if name == "mlp":
        hidden = [layers.Dense(5, activation="relu") for _ in range(4)]
        return [layers.Flatten(), *hidden, layers.Dense(1)]
    made = []
    for channels in (4, 8):
        made += [layers.Conv2D(channels, 3, activation="relu", padding="same") for _ in range(2)]
        made.append(layers.MaxPool2D(2, 2, padding="same"))
    return [*made, layers.Flatten(), layers.Dense(1)]


def cosine(a, b):
    unit = [m / (1e-4 + np.linalg.norm(m, axis=1, keepdims=True)) for m in (a, b)]
    return np.mean(np.sum(unit[0] * unit[1], axis=1))


def main():
    tf.keras.utils.set_random_seed(0)
    x = tf.image.resize(np.random.rand(IMAGES, 7, 7, 1), [SIDE, SIDE], "bicubic").numpy().clip(0, 1)
    out = {"images": x}
    for name, versions in VERSIONS.items():
        out[f"image/{name}"] = np.stack(versions(x))
    for name in ("vgg", "mlp"):
        layers = network(name)
        model = tf.keras.Sequential(layers)
        model(x)
        for index, weight in enumerate(model.trainable_variables):
            if len(weight.shape) == 1:
                weight.assign(np.random.normal(0, 0.05, weight.shape))
            out[f"{name}/weight/{index}"] = weight.numpy()

        def ntk(x, model=model):
            with tf.GradientTape() as tape:
                logits = model(x, training=False)
            jacobian = tape.jacobian(logits, model.trainable_variables)
            return np.concatenate([j.numpy().reshape(len(x), -1) for j in jacobian], axis=1).astype(np.float64)

        def conjugate(x, layers=layers):
            for layer in layers[:-1]:
                x = layer(x)
            return np.asarray(x, np.float64)

        for kernel, phi in (("ntk", ntk), ("conjugate", conjugate)):
            features = phi(x)
            gram = features @ features.T
            out[f"{name}/{kernel}/gram"] = gram
            out[f"{name}/{kernel}/effective_rank"] = np.trace(gram) / np.linalg.eigvalsh(gram)[-1]
            for transform, versions in VERSIONS.items():
                out[f"{name}/{kernel}/{transform}"] = np.mean([cosine(features, phi(v)) for v in versions(x)])
        a, b = out[f"{name}/ntk/gram"], out[f"{name}/conjugate/gram"]
        out[f"{name}/alignment"] = (a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)
    np.savez_compressed(Path(__file__).with_name("tensorflow.npz"), **out)


if __name__ == "__main__":
    main()
