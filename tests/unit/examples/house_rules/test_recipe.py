"""The settings file that the demo writes."""

from pathlib import Path

from daemon.settings_file import read_settings
from engine.recipe import recipe_from
from examples.house_rules.recipe import RECIPE, BaseOptions, clorad_toml

SHOP = Path(__file__).resolve().parents[4] / "examples" / "house_rules" / "worlds" / "shop.toml"


def test_clorad_accepts_the_settings_the_demo_writes(tmp_path: Path) -> None:
    config = tmp_path / "clorad.toml"
    config.write_text(
        clorad_toml(
            folder=tmp_path,
            base=BaseOptions(path=tmp_path / "base"),
            bootstrap="127.0.0.1:9092",
            kafka_options={"api_version": [2, 3]},
            first_start="beginning",
            replicas=["http://127.0.0.1:8000"],
            gateway_port=8080,
            ledger_url="sqlite:///ledger.db",
            agents={"support": "json", "sql": "exact"},
        )
    )
    settings = read_settings(config)
    assert settings.agents["support"].scorer == "json"
    assert settings.kafka.options == {"api_version": [2, 3]}
    recipe = recipe_from(settings.agents["sql"].recipe)
    assert recipe.learning_rate == RECIPE["learning_rate"]
