from afterkernel.records.files import write_atomic
from afterkernel.runs.disk import describe_use, disk_use


def test_disk_use_is_parted_by_kind(tmp_path):
    sizes = {
        "records/0.eval0.1.json": 1,
        "snapshots/step=0.pt": 20,
        "kernels/a.npy": 300,
        "tiles/step=0/ntk/train.npy": 4000,
        "wandb/offline-run-1/run.wandb": 50000,
        "config.yaml": 600000,
    }
    for name, size in sizes.items():
        write_atomic(tmp_path / name, bytes(size))
    (tmp_path / "wandb" / "latest-run").symlink_to("offline-run-1")
    (tmp_path / "gone").symlink_to("nowhere")
    found = disk_use(tmp_path)
    kinds = ("records", "snapshots", "grams", "tiles", "wandb")
    assert [found[kind] for kind in kinds] == [1, 20, 300, 4000, 50000]
    assert found.total() >= 654321
    assert describe_use(found).startswith("639 KiB (other 586 KiB, wandb 48.8 KiB")
    assert describe_use(disk_use(tmp_path / "nowhere")) == "0 B"
