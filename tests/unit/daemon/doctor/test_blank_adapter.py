"""The empty adapter is one that the engine's own library reads."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from daemon.doctor.blank_adapter import blank_adapter


def test_the_empty_adapter_has_the_shapes_of_the_base_and_is_removed(
    tmp_path: Path, served_base: Path
) -> None:
    with blank_adapter(tmp_path, served_base, rank=16) as folder:
        weights = load_file(folder / "adapter_model.safetensors")
        shapes = {name.rpartition("q_proj.")[2]: tuple(matrix.shape) for name, matrix in weights.items()}
        assert shapes == {"lora_A.weight": (16, 32), "lora_B.weight": (32, 16)}
        assert all(torch.equal(matrix, torch.zeros_like(matrix)) for matrix in weights.values())
        assert (folder / "adapter_config.json").is_file()
    assert not folder.exists()


def test_a_base_whose_configuration_says_no_widths_has_no_empty_adapter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="hidden_size"), blank_adapter(tmp_path, tmp_path, rank=1):
        pass
