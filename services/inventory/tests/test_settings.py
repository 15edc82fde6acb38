from ..settings import Settings


def test_a_setting_comes_from_a_variable_or_from_a_file(tmp_path):
    file = tmp_path / "setting"
    file.write_text("5\n")
    in_file = {"INVENTORY_HOLD_SECONDS_FILE": str(file)}
    assert Settings.from_environment(in_file).hold_seconds == 5
    in_variable = {"INVENTORY_HOLD_SECONDS": "7"}
    assert Settings.from_environment(in_variable).hold_seconds == 7
    assert Settings.from_environment({}) == Settings()
