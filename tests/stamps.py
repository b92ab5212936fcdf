"""What a study is, for studies that tests make up; needs no backend. `dataclasses.replace` says what is different."""

from adamtune.tuning.records import Stamp

STAMP = Stamp(
    fingerprint="f",
    task="binary-100x4",
    optimizer="adam",
    space="{}",
    objective="val_loss",
    epochs=10,
    batch_size=32,
    steps=30,
    seed=0,
    lanes=8,
    strategy="stacked",
    device="CPU",
    backend="tensorflow",
    sampler="tpe",
    pruner="asha",
    version="0.1.0",
)
