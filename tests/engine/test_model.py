"""Which folder is served, with how much context, and what is said when there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from assistant.engine.command import engine_rank, environment, serve_command
from assistant.engine.model import MAX_CONTEXT, context_length, find_model
from assistant.engine.processor import has_native_bf16
from assistant.errors import SottoError


def model_in(folder: Path, **config: object) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").touch()
    return folder


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert find_model(str(model_in(tmp_path))) == tmp_path


@pytest.mark.parametrize("left_out", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_part_is_refused(tmp_path: Path, left_out: str) -> None:
    model_in(tmp_path)
    (tmp_path / left_out).unlink()
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(SottoError, match=f"holds no .*{left_out.removeprefix('model')}.*SOTTO_MODEL"):
        find_model(str(tmp_path))


@pytest.mark.parametrize("name", ["nobody/no-such-model", "/no/such/folder"])
def test_a_model_that_cannot_be_found_says_what_to_give(name: str) -> None:
    with pytest.raises(SottoError, match=f"no model {name}, neither .*SOTTO_MODEL"):
        find_model(name)


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"max_position_embeddings": 131072}, MAX_CONTEXT),
        ({"text_config": {"max_position_embeddings": 1024}}, 1024),
        ({}, MAX_CONTEXT),
    ],
)
def test_context_is_what_a_turn_needs_and_the_model_allows(
    tmp_path: Path, config: dict[str, object], tokens: int
) -> None:
    assert context_length(model_in(tmp_path, **config)) == tokens


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    (model_in(tmp_path) / "config.json").write_text("{")
    with pytest.raises(SottoError, match=r"config\.json cannot be read"):
        context_length(tmp_path)


def test_the_engine_is_reached_from_this_machine_only_and_unpickles_nothing(tmp_path: Path) -> None:
    command = " ".join(serve_command(tmp_path, 8001))
    for wanted in ("--host 127.0.0.1", "--load-format safetensors", "--no-enable-log-requests"):
        assert wanted in command
    assert "trust" not in command
    assert "lora" not in command
    assert "--lora-target-modules q_proj v_proj" in " ".join(serve_command(tmp_path, 8001, lora_rank=16))


def test_the_engine_sends_nothing_home_and_logs_no_requests() -> None:
    variables = environment(base={"VLLM_LOGGING_LEVEL": "DEBUG", "VLLM_CPU_KVCACHE_SPACE": "8"})
    assert variables["VLLM_NO_USAGE_STATS"] == variables["HF_HUB_OFFLINE"] == "1"
    assert variables["VLLM_LOGGING_LEVEL"] == "INFO"
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "8"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in variables
    assert environment(lora_rank=8, base={})["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"


@pytest.mark.parametrize(
    ("info", "native"),
    [
        ("flags\t: avx2 avx512_bf16", True),
        ("Features\t: asimd bf16", True),
        ("flags\t: avx2", False),
        ("", True),
    ],
)
def test_a_cpu_without_bf16_instructions_is_told_by_its_flags(tmp_path: Path, info: str, native: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{info}\n")
    assert has_native_bf16(tmp_path / "cpuinfo") is native


def test_a_cpu_that_cannot_be_asked_is_trusted(tmp_path: Path) -> None:
    assert has_native_bf16(tmp_path / "none")


@pytest.mark.parametrize(("rank", "engine"), [(1, 1), (2, 8), (8, 8), (12, 16), (512, 512)])
def test_the_engines_rank_is_the_least_that_fits(rank: int, engine: int) -> None:
    assert engine_rank(rank) == engine
    command = " ".join(serve_command(Path("model"), 8001, lora_rank=rank))
    assert f"--max-lora-rank {engine} " in command
    assert "--enable-prompt-embeds" in command


@pytest.mark.parametrize("rank", [0, -1, 513])
def test_a_rank_that_vllm_does_not_take_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match="rank 1 to 512"):
        serve_command(Path("model"), 8001, lora_rank=rank)
